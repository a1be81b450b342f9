"""TensorFlow in the program's own process: with one thread, and without its start-up messages."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# They change TensorFlow's arithmetic, its threads or its Keras; no result may depend on them. The
# variables that select oneDNN's kernels are not among them: they are part of a record's identity.
_UNSET = (
    "TF_XLA_FLAGS", "XLA_FLAGS", "TF_DETERMINISTIC_OPS", "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS", "TF_USE_LEGACY_KERAS", "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED",
)  # fmt: skip


def set_environment() -> None:
    """Set the environment variables that TensorFlow and Keras read, before their import."""
    for name in _UNSET:
        os.environ.pop(name, None)
    # Otherwise Keras reads its backend from the user's file; other backends draw other weights.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Every worker trains on its CPU (see `keep_to_cpu`), so CUDA is not started.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def import_tensorflow() -> None:
    """Import TensorFlow and Keras with their defaults, not with the user's for other programs.

    Keras reads types, the order of an image's axes and more in `keras.json` of its home, which is
    also where its copy of MNIST lies.
    """
    set_environment()
    home = os.environ.get("KERAS_HOME")
    os.environ["KERAS_HOME"] = os.devnull
    try:
        import keras  # noqa: F401
        import tensorflow as tf  # noqa: F401
    finally:
        if home is None:
            del os.environ["KERAS_HOME"]
        else:
            os.environ["KERAS_HOME"] = home


def prepare_tensorflow() -> None:
    """Import TensorFlow with one thread, as every worker does; doing it twice changes nothing.

    Its native code reports missing drivers on stderr, whatever its log level.
    """
    if "mnist_study.training.trainer" in sys.modules:
        return
    with _stderr_held_back():
        import_tensorflow()
        from mnist_study.training import model

        limit_threads()
        keep_to_cpu()
        model.look_for_devices()


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Hold back the output to stderr; it is written after all if the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            sys.stderr.flush()
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def limit_threads() -> None:
    """Give TensorFlow one thread; more make networks of this size slower, and runs differ.

    Raises:
        RuntimeError: TensorFlow already runs with other settings.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def keep_to_cpu() -> str | None:
    """Let TensorFlow use no GPU, so that the kind of device decides no result.

    A GPU rounds differently from a CPU, is slower for networks of this size, and the first of
    several workers would take all of its memory.

    Returns:
        Why this process cannot train: it has used a GPU before. None where it can.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        return (
            f"TensorFlow already uses {len(gpus)} GPU{'s' * (len(gpus) != 1)} in this process, "
            "expected the CPU, on which all runs are trained; start a fresh worker"
        )
    return None


def keep_freed_memory() -> None:
    """Let malloc keep what it frees: Dask's setting returns it to the system after every step.

    Each training step frees buffers of some hundred kB; giving them back costs page faults.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold, keep = -1, -3, 1 << 30
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc; others do not trim
        libc.mallopt(trim_threshold, keep)
        libc.mallopt(mmap_threshold, keep)
