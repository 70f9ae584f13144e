"""The inference server behind `zoo serve`: one gate for every request, one batcher for every model.

    connection  a header that is too long or too slow ends its connection
    gate        token, body and queue limits, request ids, log, metrics: before and after every HTTP request
    bodies      gzip and deflate decoded, the picture taken out of an upload form
    app         the application, its errors and pages; its routes are in
    pictures    certify, and Hugging Face's image classification
    inference   the Open Inference Protocol over REST
    rpc         the same over gRPC
    routes      what the routes share
    protocol    tensors of the Open Inference Protocol to arrays and back
    extensions  what its clients ask besides inference: configuration, statistics, repository index, settings
    documents   its JSON documents
    schemas     the JSON bodies of our own routes
    service     the models, and the way from a picture or tensor to an answer
    batching    requests that wait for ONNX Runtime are run together
    statistics  what the protocol counts
    metrics     what Prometheus reads
    problems    what may end a request without an answer, with its statuses
    server      start, warm-up, SIGTERM

The gRPC messages are tritonclient's, because a second copy of them cannot be loaded beside it in one process; KServe's
SDK is not used, because its `ModelServer` unloads the models at SIGTERM with requests under way, lets any client unload
one and knows no limits, and what would be left of the SDK takes seconds to import and is not there for Python 3.14.
"""
