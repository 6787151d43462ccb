extern "C" __global__ void __launch_bounds__(256, 4) transposed(const float* x, float* y, i64 gf_n, i64 gf_m) {
  __shared__ float gf_1[32][33];
  const i32 n = (i32)gf_n;
  const i32 m = (i32)gf_m;
  {
    const i32 gf_along = m;
    const i32 gf_along_tiles = (gf_along + 31) / 32;
    const i32 gf_last = n;
    const i32 gf_last_tiles = (gf_last + 31) / 32;
    const i32 gf_total = gf_along_tiles * gf_last_tiles;
    const i32 gf_column = threadIdx.x % 32, gf_row = threadIdx.x / 32;
    for (i32 gf_turn = (i32)blockIdx.x; gf_turn < gf_total; gf_turn += (i32)gridDim.x) {
      const i32 gf_last_from = gf_turn % gf_last_tiles * 32;
      const i32 gf_along_from = gf_turn / gf_last_tiles % gf_along_tiles * 32;
      __syncthreads();
      for (i32 gf_k = gf_row; gf_k < 32; gf_k += 8) {
        const i32 j = gf_along_from + gf_column;
        const i32 i = gf_last_from + gf_k;
        if (j < gf_along && i < gf_last) {
          gf_1[gf_k][gf_column] = x[(i * m) + j];
        }
      }
      __syncthreads();
      for (i32 gf_k = gf_row; gf_k < 32; gf_k += 8) {
        const i32 j = gf_along_from + gf_k;
        const i32 i = gf_last_from + gf_column;
        if (j < gf_along && i < gf_last) {
          y[(j * n) + i] = gf_1[gf_column][gf_k];
        }
      }
    }
  }
}
