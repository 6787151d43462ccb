extern "C" __global__ void __launch_bounds__(256, 4) scatter(const i32* ids, const float* rows, float* y, i64 gf_n, i64 gf_limit) {
  const i32 n = (i32)gf_n;
  const i32 limit = (i32)gf_limit;
  {
    const i32 gf_lane = threadIdx.x % 32;
    if (blockIdx.x == 0 && threadIdx.x < 32) {
      for (i32 i = 0; i < n; ++i) {
        __syncwarp();
        const i64 row = (i64)ids[i];
        if ((bool)((row >= 0ll) & (row < gf_limit))) {
          const i64 base = (i64)((u64)row * (u64)40ll);
          const i32 begin = i * 40;
          for (i32 j = gf_lane; j < 40; j += 32) {
            y[(i64)((u64)base + (u64)(i64)j)] = y[(i64)((u64)base + (u64)(i64)j)] + rows[begin + j];
          }
        }
      }
    }
  }
}
