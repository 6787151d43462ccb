extern "C" __global__ void __launch_bounds__(256, 4) columns(const double* x, double* y, i64 gf_n, i64 gf_m) {
  const i32 n = (i32)gf_n;
  const i32 m = (i32)gf_m;
  {
    const i32 gf_total = m;
    const i32 gf_thread = (i32)blockIdx.x * 256 + threadIdx.x;
    const i32 gf_step = (i32)gridDim.x * 256;
    for (i32 gf_turn = gf_thread; gf_turn < gf_total; gf_turn += gf_step) {
      const i32 j = gf_turn;
      double total = 0.0;
      for (i32 r = 0; r < n; ++r) {
        total = total + x[(r * m) + j];
      }
      y[j] = total;
    }
  }
}
