"""ONNX Runtime sessions on a CPU, with settings for a service. Only this module may import onnxruntime.

It switches off ONNX Runtime's telemetry first.
"""

import os

# Since 1.32 ONNX Runtime reports its use to its makers and keeps a device id in the user's cache folder. It reads this
# variable once, when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


def session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Make a session of a serialised graph, each of whose calls runs on `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Within a call, threads spin while they wait for their next piece of work, which comes soon. After the call they
    # must not, because threads that read and decode requests need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
