"""What every generated kernel may call, in CUDA C: nothing is included.

Half floats are computed with as float and lie in memory as 16 bits. Integers divided by zero give zero, shifts are held
within the bits there are, floats are cut towards zero and held at an integer's ends: as on the processor.
"""

from __future__ import annotations

__all__ = ["PRELUDE"]

PRELUDE = r"""
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;

// Neighbouring elements, which one access of memory moves where they lie at a multiple of their size.
template <typename T, int N> struct alignas(sizeof(T) * N) Pack { T v[N]; };

template <typename T, int N> __device__ __forceinline__ Pack<T, N> gf_load(const T* at) {
  Pack<T, N> found;
  if ((u64)at % sizeof(Pack<T, N>) == 0) {
    found = *(const Pack<T, N>*)at;
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) found.v[k] = at[k];
  }
  return found;
}

template <typename T, int N> __device__ __forceinline__ void gf_store(T* at, const Pack<T, N>& made) {
  if ((u64)at % sizeof(Pack<T, N>) == 0) {
    *(Pack<T, N>*)at = made;
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] = made.v[k];
  }
}

template <typename To, typename From> __device__ __forceinline__ To gf_bits(From x) {
  union { From from; To to; } both;
  both.from = x;
  return both.to;
}

#define GF_INF gf_bits<float>(0x7f800000u)
#define GF_NAN gf_bits<float>(0x7fc00000u)
#define GF_INF64 gf_bits<double>(0x7ff0000000000000ull)
#define GF_NAN64 gf_bits<double>(0x7ff8000000000000ull)

__device__ __forceinline__ float gf_from_bf16(u16 x) { return gf_bits<float>((u32)x << 16); }
__device__ __forceinline__ u16 gf_to_bf16(float x) {
  const u32 whole = gf_bits<u32>(x);
  const u32 rounded = (whole + (((whole >> 16) & 1u) + 0x7fffu)) >> 16;
  return (u16)(x != x ? (whole >> 16) | 0x40u : rounded);
}

__device__ __forceinline__ float gf_from_f16(u16 x) {
#ifdef __CUDA_ARCH__
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
  return wide;
#else
  const u32 rest = x & 0x7fffu;
  const u32 scaled = gf_bits<u32>(gf_bits<float>(rest << 13) * 5192296858534827628530496329220096.0f);
  return gf_bits<float>((rest >= 0x7c00u ? scaled | 0x7f800000u : scaled) | (u32)(x & 0x8000u) << 16);
#endif
}
__device__ __forceinline__ u16 gf_to_f16(float x) {
#ifdef __CUDA_ARCH__
  u16 made;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(made) : "f"(x));
  return made;
#else
  const u32 whole = gf_bits<u32>(x), sign = whole & 0x80000000u, size = whole ^ sign;
  const u32 denormal = gf_bits<u32>(gf_bits<float>(size) + 0.5f) - 0x3f000000u;
  const u32 normal = (size + ((size >> 13) & 1u) - 0x37fff001u) >> 13;
  const u32 special = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const u32 found = size >= 0x47800000u ? special : size < 0x38800000u ? denormal : normal;
  return (u16)(found | sign >> 16);
#endif
}

template <typename T> __device__ __forceinline__ T gf_max(T x, T y) { return x > y || x != x ? x : y; }
template <typename T> __device__ __forceinline__ T gf_min(T x, T y) { return x < y || x != x ? x : y; }
template <typename T> __device__ __forceinline__ T gf_maxnum(T x, T y) { return y > x ? y : x; }
template <typename T> __device__ __forceinline__ T gf_sign(T x) {
  return x > (T)0 ? (T)1 : x < (T)0 ? (T)-1 : x;
}

// Neither takes part in a fused multiply-add: the sum is rounded by itself, and so is what it is made of.
__device__ __forceinline__ float gf_fence(float x) { return __fadd_rn(x, -0.0f); }
__device__ __forceinline__ double gf_fence(double x) { return __dadd_rn(x, -0.0); }

__device__ __forceinline__ float gf_sigmoid(float x) {
  const float e = expf(-fabsf(x));
  return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}
__device__ __forceinline__ double gf_sigmoid(double x) {
  const double e = exp(-fabs(x));
  return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}
__device__ __forceinline__ float gf_fmod(float x, float y) { return fmodf(x, y); }
__device__ __forceinline__ double gf_fmod(double x, double y) { return fmod(x, y); }
template <typename T> __device__ __forceinline__ T gf_float_floormod(T x, T y) {
  const T rest = gf_fmod(x, y);
  return rest != (T)0 && (rest < (T)0) != (y < (T)0) ? rest + y : rest;
}

// Floats to integers: NaN is zero, what is too great stays at the end.
template <typename T, typename F> __device__ __forceinline__ T gf_to_int(F x, F low, F high, T least, T most) {
  return x != x ? (T)0 : x <= low ? least : x >= high ? most : (T)x;
}

template <typename T> __device__ __forceinline__ T gf_div(T x, T y) {
  if (y == (T)0) return (T)0;
  if ((T)-1 < (T)0 && y == (T)-1) return (T)((u64)0 - (u64)x);
  return (T)(x / y);
}
template <typename T> __device__ __forceinline__ T gf_truncmod(T x, T y) {
  if (y == (T)0 || ((T)-1 < (T)0 && y == (T)-1)) return (T)0;
  return (T)(x % y);
}
template <typename T> __device__ __forceinline__ T gf_floormod(T x, T y) {
  const T rest = gf_truncmod(x, y);
  return rest != (T)0 && (rest < (T)0) != (y < (T)0) ? (T)(rest + y) : rest;
}
template <typename T> __device__ __forceinline__ T gf_floordiv(T x, T y) {
  const T whole = gf_div(x, y), rest = gf_truncmod(x, y);
  return rest != (T)0 && (rest < (T)0) != (y < (T)0) ? (T)(whole - 1) : whole;
}
template <typename T> __device__ __forceinline__ T gf_held(T amount) {
  const T most = (T)(sizeof(T) * 8 - 1);
  return amount < (T)0 ? (T)0 : amount > most ? most : amount;
}
template <typename T> __device__ __forceinline__ T gf_shl(T x, T amount) { return (T)((u64)x << gf_held(amount)); }
template <typename T> __device__ __forceinline__ T gf_shr(T x, T amount) { return (T)(x >> gf_held(amount)); }
template <typename T> __device__ __forceinline__ T gf_mulhi(T x, T y) {
  return (T)(((i64)x * (i64)y) >> (sizeof(T) * 8));
}
template <> __device__ __forceinline__ u32 gf_mulhi(u32 x, u32 y) { return (u32)(((u64)x * (u64)y) >> 32); }
template <> __device__ __forceinline__ i64 gf_mulhi(i64 x, i64 y) { return __mul64hi(x, y); }
template <> __device__ __forceinline__ u64 gf_mulhi(u64 x, u64 y) { return __umul64hi(x, y); }
template <typename T> __device__ __forceinline__ T gf_abs(T x) { return x < (T)0 ? (T)((u64)0 - (u64)x) : x; }

template <typename T> __device__ __forceinline__ T gf_shuffle(T x, int lane_mask) {
  return __shfl_xor_sync(0xffffffffu, x, lane_mask);
}
template <typename T> __device__ __forceinline__ T gf_first(T x) { return __shfl_sync(0xffffffffu, x, 0); }
"""
