extern "C" __global__ void __launch_bounds__(256, 4) elements(const float* x, float* y, i64 gf_n) {
  const i32 n = (i32)gf_n;
  {
    const i32 gf_total = n;
    const i32 gf_thread = (i32)blockIdx.x * 256 + threadIdx.x;
    const i32 gf_step = (i32)gridDim.x * 256;
    const i32 gf_whole = gf_total / 4;
    for (i32 gf_turn = gf_thread; gf_turn < gf_whole; gf_turn += gf_step) {
      const i32 i = gf_turn * 4;
      const Pack<float, 4> gf_2 = gf_load<float, 4>(x + i);
      const Pack<float, 4> gf_1 = {{gf_max(((gf_2.v[0] * 2.0f) + 0.25f), 0.0f), gf_max(((gf_2.v[1] * 2.0f) + 0.25f), 0.0f), gf_max(((gf_2.v[2] * 2.0f) + 0.25f), 0.0f), gf_max(((gf_2.v[3] * 2.0f) + 0.25f), 0.0f)}};
      gf_store<float, 4>(y + i, gf_1);
    }
    for (i32 gf_turn = gf_whole * 4 + gf_thread; gf_turn < gf_total; gf_turn += gf_step) {
      const i32 i = gf_turn;
      y[i] = gf_max(((x[i] * 2.0f) + 0.25f), 0.0f);
    }
  }
}
