"""The inference server behind `zoo serve`: one gate for every request, one batcher for every model.

    connection  a header that is too long or too slow ends its connection
    gate        token, body and queue limits, request ids, log, metrics: before and after every HTTP request
    app         the REST routes and their OpenAPI document
    rpc         the same over gRPC
    protocol    tensors of the Open Inference Protocol to arrays and back
    service     the models, and the way from a picture or tensor to an answer
    batching    requests that wait for ONNX Runtime are run together
    metrics     what Prometheus reads
    server      start, warm-up, SIGTERM

KServe's Python SDK brings the protocol: its tensors, its documents, its gRPC service. Its `ModelServer` is not used:
it unloads the models when SIGTERM arrives, with requests under way; it binds to every interface, reads `sys.argv`
when it is imported, answers 400 to tritonclient's JSON tensors and 501 to a version in the path, lets any client
unload a model, and knows neither a limit nor a queue.
"""
