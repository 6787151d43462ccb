"""Public functions of the numerical families that are built of several ops: values and gradients as TensorFlow's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.test_array_functions import FED, INPUTS, REFEREE, evaluated

WAVE = "tf.reshape(v, [3, 20])"
SQUARE = "tf.matmul(x, x, transpose_b=True) + tf.eye(4)"
# TensorFlow has no gradient of the factors.
FACTORS = "tf.linalg.lu(np.tri(4, 4, 1, np.float32) + np.diag([2.0, 3, 4, 5]).astype(np.float32))"
BANDS = "tf.constant([[1.0, 2, 3, 0], [5, 6, 7, 8], [0, 1, 2, 1]])"
EXPRESSIONS = (
    # matrices
    f"tf.cholesky_solve(tf.cholesky({SQUARE}), x)", f"tf.linalg.logdet({SQUARE})", f"tf.linalg.slogdet({SQUARE})[1]",
    f"tf.linalg.lstsq({SQUARE}, x)", "tf.matrix_solve_ls(x, x, l2_regularizer=0.5)", "tf.linalg.pinv(x)",
    "tf.linalg.matrix_rank(x)", f"tf.self_adjoint_eigvals({SQUARE})", "tf.svd(x, compute_uv=False)",
    f"tf.linalg.lu_reconstruct(*{FACTORS})", f"tf.linalg.lu_solve(*{FACTORS}, rhs=x)",
    f"tf.linalg.lu_matrix_inverse(*{FACTORS})", f"tf.linalg.sqrtm({SQUARE})",
    f"tf.linalg.tridiagonal_solve({BANDS}, x[:, 0])", f"tf.linalg.tridiagonal_solve({BANDS}, x)",
    f"tf.linalg.tridiagonal_solve({SQUARE}, x, diagonals_format='matrix')",
    "tf.linalg.tridiagonal_solve((row[:3], row[:4] + 5.0, row[:3]), x[:, 1], diagonals_format='sequence')",
    f"tf.linalg.tridiagonal_matmul({BANDS}, x)",
    # counting and searching
    "tf.bincount(i)", "tf.bincount(i, minlength=12)", "tf.bincount(i, maxlength=5, dtype=tf.int64)",
    "tf.bincount(i, weights=np.arange(20.0).reshape(4, 5))", "tf.confusion_matrix(j, [2, 1, 3])",
    "tf.confusion_matrix(j, j, num_classes=5)",
    "tf.confusion_matrix(j, j, weights=[0.5, 1.5, 2.0], dtype=tf.float32)",
    "tf.histogram_fixed_width(x, [-1.0, 1.0], nbins=5)", "tf.histogram_fixed_width_bins(x, [-1.0, 1.0], nbins=5)",
    "tf.searchsorted(tf.sort(row), x[0])", "tf.searchsorted(tf.sort(x), y, side='right', out_type=tf.int64)",
    "tf.sparse_segment_sum(x, [0, 2, 1], [0, 0, 1])", "tf.sparse_segment_mean(x, [0, 2], [0, 2], num_segments=4)",
    "tf.sparse_segment_sqrt_n(x, [0, 2, 1], [0, 0, 1])", "tf.tensor_scatter_nd_max(x, [[0, 1]], [9.0])",
    # special functions
    "tf.lbeta(pos)", "tf.math.polyval([x, 2.0, row], y)", "tf.math.erfcinv(pos)", "tf.math.bessel_i0(x)",
    "tf.math.bessel_i1e(x)", "tf.igamma(pos, 1.5)", "tf.betainc(pos, 2.0 * pos, pos / 3.0)",
    # spectra
    "tf.signal.rfft(x)", "tf.signal.rfft(x, [8])", "tf.signal.rfft2d(v, [4, 4])", "tf.signal.irfft(z)",
    "tf.signal.irfft2d(z, [4, 4])", "tf.signal.fftshift(x)", "tf.signal.fftshift(x, axes=1)",
    "tf.signal.ifftshift(x, axes=[0, -1])", "tf.signal.rfft(p)", "tf.signal.frame(row, 2, 1)",
    "tf.signal.frame(v, 3, 2, pad_end=True, pad_value=7.0)", "tf.signal.frame(v, 2, 2, axis=1)",
    f"tf.signal.frame({WAVE}, 4, n)", "tf.signal.overlap_and_add(v, 2)", "tf.signal.overlap_and_add(v, 5)",
    "tf.signal.hann_window(7)", "tf.signal.hann_window(8, periodic=False)", "tf.signal.hamming_window(6)",
    "tf.signal.hann_window(n)", "tf.signal.hann_window(1)", "tf.signal.vorbis_window(8)",
    "tf.signal.kaiser_window(8)", "tf.signal.kaiser_bessel_derived_window(8, beta=5.0)", "tf.signal.stft(v, 4, 2)",
    f"tf.signal.stft({WAVE}, 6, 3, fft_length=16, window_fn=None, pad_end=True)",
    f"tf.signal.inverse_stft(tf.signal.stft({WAVE}, 8, 4), 8, 4, window_fn=tf.signal.inverse_stft_window_fn(4))",
    "tf.signal.dct(v)", "tf.signal.dct(v, type=1)", "tf.signal.dct(v, type=3)", "tf.signal.dct(v, type=4)",
    "tf.signal.dct(v, norm='ortho')", "tf.signal.idct(v, norm='ortho')", "tf.signal.dct(v, type=4, norm='ortho')",
    "tf.signal.dct(v, n=3)", "tf.signal.idct(v, n=8)", "tf.spectral.dct(x)", f"tf.signal.mdct({WAVE}, 8)",
    "tf.signal.inverse_mdct(tf.reshape(v, [3, 5, 4]))", "tf.signal.linear_to_mel_weight_matrix()",
    "tf.signal.linear_to_mel_weight_matrix(5, 17, 16000.0, 80.0, 7600.0)",
    "tf.signal.mfccs_from_log_mel_spectrograms(x)",
)  # fmt: skip


@pytest.mark.tensorflow
@pytest.mark.slow
def test_values_and_gradients_are_tensorflows(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.{kind}" for i, kind in enumerate(("npz", "json", "json", "npz", "json"))]
    np.savez(files[0], **INPUTS)
    files[1].write_text(json.dumps(FED))
    files[2].write_text(json.dumps(EXPRESSIONS))
    tensorflow(REFEREE, *files)
    theirs = np.load(files[3])
    _, refused = json.loads(files[4].read_text())
    assert not refused, "\n".join(f"{text}: {error}" for text, error in refused.items())
    problems = []
    for number, text in enumerate(EXPRESSIONS):
        mine, _, _ = evaluated(text)
        their_keys = {key.split(" ", 1)[1] for key in theirs.files if key.split(" ", 1)[0] == str(number)}
        for key in sorted({*mine, *their_keys}):
            if key not in mine or key not in their_keys:
                problems.append(f"{text}: only one of us has {key}")
                continue
            a, b = np.asarray(mine[key]), theirs[f"{number} {key}"]
            if a.shape != b.shape or a.dtype != b.dtype or not np.allclose(a, b, rtol=1e-3, atol=1e-4):
                problems.append(
                    f"{text}: {key}: {a.dtype}{a.shape} {a.ravel()[:4]}, {b.dtype}{b.shape} {b.ravel()[:4]}"
                )
    assert not problems, "\n".join(problems)
