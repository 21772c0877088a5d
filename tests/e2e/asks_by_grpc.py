"""Asks an agent by what its reflection tells alone, as grpcurl(1) does; prints JSON.

usage: asks_by_grpc.py SOCKET
"""

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

# gRPC's C core would name the path as the authority, which RFC 3986 has no room for.
authority = ("grpc.default_authority", "localhost")
channel = grpc.insecure_channel("unix:" + sys.argv[1], options=[authority])
database = ProtoReflectionDescriptorDatabase(channel)
pool = DescriptorPool(database)


def call(service, method, /, many=False, **fields):
    method = pool.FindServiceByName(service).FindMethodByName(method)
    take = GetMessageClass(method.input_type)
    give = GetMessageClass(method.output_type).FromString
    path = f"/{service}/{method.name}"
    kind = channel.unary_stream if many else channel.unary_unary
    answer = kind(path, lambda m: m.SerializeToString(), give)(take(**fields), timeout=20)
    if many:
        return [MessageToDict(reply) for reply in answer]
    return MessageToDict(answer)


control = "dropsonde.v1.Control"
try:
    call(control, "Get", stream="stead")
    refusal = None
except grpc.RpcError as error:
    refusal = [error.code().name, error.details()]

print(json.dumps({
    "services": sorted(database.get_services()),
    "health": call("grpc.health.v1.Health", "Check", service=control),
    "status": call(control, "GetStatus"),
    "batches": call(control, "Subscribe", many=True, topics=["metrics.steady"], limit=2),
    "refusal": refusal,
}))
