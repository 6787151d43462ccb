extern "C" __global__ void __launch_bounds__(256, 4) softmax(const float* x, float* y, i64 gf_n) {
  const i32 n = (i32)gf_n;
  {
    const i32 gf_lane = threadIdx.x % 32;
    const i32 gf_total = n;
    for (i32 gf_turn = (i32)blockIdx.x * 8 + threadIdx.x / 32; gf_turn < gf_total; gf_turn += (i32)gridDim.x * 8) {
      const i32 r = gf_turn;
      const i32 base = r * 300;
      float top = -GF_INF;
      for (i32 c = gf_lane; c < 300; c += 32) {
        top = gf_max(top, x[base + c]);
      }
      for (int gf_mask = 16; gf_mask; gf_mask /= 2) {
        const float gf_other = (float)gf_shuffle((float)top, gf_mask);
        top = gf_max(top, gf_other);
      }
      top = (float)gf_first((float)top);
      float total = 0.0f;
      for (i32 c_1 = gf_lane; c_1 < 300; c_1 += 32) {
        total = total + expf((x[base + c_1] - top));
      }
      for (int gf_mask = 16; gf_mask; gf_mask /= 2) {
        const float gf_other = (float)gf_shuffle((float)total, gf_mask);
        total = total + gf_other;
      }
      for (i32 c_2 = gf_lane; c_2 < 300; c_2 += 32) {
        y[base + c_2] = expf((x[base + c_2] - top)) / total;
      }
    }
  }
}
