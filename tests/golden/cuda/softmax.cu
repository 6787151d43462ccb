extern "C" __global__ void __launch_bounds__(256, 3) softmax(const float* x, float* y, i64 gf_n) {
  const i32 n = (i32)gf_n;
  {
    const i32 gf_lane = threadIdx.x % 32;
    const i32 gf_total = n;
    for (i32 gf_turn = (i32)blockIdx.x * 8 + threadIdx.x / 32; gf_turn < gf_total; gf_turn += (i32)gridDim.x * 8) {
      const i32 r = gf_turn;
      const i32 base = r * 300;
      float top = -GF_INF;
      const i32 gf_1 = 300 / 4 * 4;
      for (i32 c = gf_lane * 4; c < gf_1; c += 128) {
        const Pack<float, 4> gf_2 = gf_load<float, 4>(x + base + c);
        top = gf_max(top, (gf_2.v[0]));
        top = gf_max(top, (gf_2.v[1]));
        top = gf_max(top, (gf_2.v[2]));
        top = gf_max(top, (gf_2.v[3]));
      }
      for (i32 c = gf_1 + gf_lane; c < 300; c += 32) {
        top = gf_max(top, x[base + c]);
      }
      for (int gf_mask = 16; gf_mask; gf_mask /= 2) {
        const float gf_other = (float)gf_shuffle((float)top, gf_mask);
        top = gf_max(top, gf_other);
      }
      top = (float)gf_first((float)top);
      float total = 0.0f;
      const i32 gf_3 = 300 / 4 * 4;
      for (i32 c_1 = gf_lane * 4; c_1 < gf_3; c_1 += 128) {
        const Pack<float, 4> gf_4 = gf_load<float, 4>(x + base + c_1);
        total = total + (expf((gf_4.v[0] - top)));
        total = total + (expf((gf_4.v[1] - top)));
        total = total + (expf((gf_4.v[2] - top)));
        total = total + (expf((gf_4.v[3] - top)));
      }
      for (i32 c_1 = gf_3 + gf_lane; c_1 < 300; c_1 += 32) {
        total = total + expf((x[base + c_1] - top));
      }
      for (int gf_mask = 16; gf_mask; gf_mask /= 2) {
        const float gf_other = (float)gf_shuffle((float)total, gf_mask);
        total = total + gf_other;
      }
      const i32 gf_5 = 300 / 4 * 4;
      for (i32 c_2 = gf_lane * 4; c_2 < gf_5; c_2 += 128) {
        const Pack<float, 4> gf_7 = gf_load<float, 4>(x + base + c_2);
        const Pack<float, 4> gf_6 = {{expf((gf_7.v[0] - top)) / total, expf((gf_7.v[1] - top)) / total, expf((gf_7.v[2] - top)) / total, expf((gf_7.v[3] - top)) / total}};
        gf_store<float, 4>(y + base + c_2, gf_6);
      }
      for (i32 c_2 = gf_5 + gf_lane; c_2 < 300; c_2 += 32) {
        y[base + c_2] = expf((x[base + c_2] - top)) / total;
      }
    }
  }
}
