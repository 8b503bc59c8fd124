"""ONNX Runtime on a CPU, as a service wants it. Import it from nowhere else: here its telemetry is off."""

import os

# Since 1.32 ONNX Runtime reports its use to its makers and keeps an id of the device in the user's cache folder. It
# reads this variable once, when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


def session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A graph ready to run, each call on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Within a call threads spin for their next piece, which comes soon. After it they would take the core from
    # whoever reads and decodes requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
