"""The inference server behind `zoo serve`: one gate for every request, one batcher for every model.

    gate        token, body and queue limits, request ids, log, metrics: before and after every HTTP request
    bodies      decodes gzip and deflate, takes the picture out of an upload form
    app         the application with its errors and pages; the other routes are in the next three
    pictures    certify, and Hugging Face's image classification
    inference   the Open Inference Protocol over REST
    rpc         the Open Inference Protocol over gRPC
    routes      what the routes share
    protocol    tensors of the Open Inference Protocol to arrays and back
    extensions  its requests besides inference: configuration, statistics, repository index, settings
    documents   its JSON documents
    schemas     the JSON bodies of our own routes
    service     the models, and the way from a picture or tensor to an answer
    batching    runs requests together that wait for ONNX Runtime
    statistics  what the protocol counts
    metrics     what Prometheus reads
    problems    the errors that end a request without an answer, with their statuses
    server      start, warm-up, SIGTERM

The gRPC messages are tritonclient's, because a second copy of them cannot be loaded beside it in one process. KServe's
SDK is not used: its `ModelServer` unloads the models at SIGTERM while requests are under way, lets any client unload
one and knows no limits; the rest of the SDK takes seconds to import and does not exist for Python 3.14.
"""
