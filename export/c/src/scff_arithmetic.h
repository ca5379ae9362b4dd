/* Integer arithmetic of the runtime. No result depends on a compiler's >> of negative numbers. */
#ifndef SCFF_ARITHMETIC_H
#define SCFF_ARITHMETIC_H

#include "scff.h"

/* x / 2^shift rounded down: the only arithmetic shift, which compiles to one instruction. shift 0..62. */
static inline int64_t scff_asr(int64_t x, uint32_t shift)
{
    return (x >= 0) ? (x >> shift) : ~(~x >> shift);
}

/* The same for 32 bits. shift 0..31. */
static inline int32_t scff_asr_32(int32_t x, uint32_t shift)
{
    return (x >= 0) ? (x >> shift) : ~(~x >> shift);
}

/* 2^exponent. exponent 0..62. */
static inline int64_t scff_power(uint32_t exponent)
{
    uint64_t bit = (uint64_t)1 << exponent;
    return (int64_t)bit;
}

/* Largest magnitude of a number of `bits` bits. bits 2..32. */
static inline int64_t scff_top(uint32_t bits)
{
    return scff_power(bits - 1u) - 1;
}

/* x saturated to +-scff_top(bits). */
static inline int32_t scff_saturate(int64_t x, uint32_t bits)
{
    int64_t top = scff_top(bits);
    if (x > top) {
        return (int32_t)top;
    }
    return (x < -top) ? (int32_t)(-top) : (int32_t)x;
}

/* x * 2^-shift rounded to the nearest integer; |x| < 2^61. A negative shift is a left shift, saturated to 64 bits. */
int64_t scff_shift_right(int64_t x, int32_t shift, scff_rounding_t rounding);

/* Stochastic rounding of x * 2^-shift: up with the probability of its fraction; |x| < 2^61, drawn: 16 random bits. */
int64_t scff_shift_right_at_random(int64_t x, int32_t shift, uint32_t drawn);

/* x * 2^-shift, rounded to the nearest integer and saturated to `bits`. */
static inline int32_t scff_requantise(int64_t x, int32_t shift, uint32_t bits, scff_rounding_t rounding)
{
    return scff_saturate(scff_shift_right(x, shift, rounding), bits);
}

/*
 * scff_shift_right for 32-bit values: a few instructions on a 32-bit core, instead of a hundred. The bits that are
 * shifted out are compared with a half, so that nothing overflows. shift 1..31.
 */
static inline int32_t scff_round_32(int32_t x, uint32_t shift, scff_rounding_t rounding)
{
    uint32_t up = (uint32_t)((rounding == SCFF_HALF_UP) ? 1u : 0u);
    int32_t below = scff_asr_32(x, shift);
    uint32_t cut = (uint32_t)x & (((uint32_t)1 << shift) - 1u);
    uint32_t half = (uint32_t)1 << (shift - 1u);
    uint32_t tie = ((uint32_t)below | up) & 1u;
    if ((cut + tie) > half) {
        below += 1;
    }
    return below;
}

/* x saturated to +-scff_top(bits). bits 2..16. */
static inline int32_t scff_saturate_32(int32_t x, uint32_t bits)
{
    uint32_t magnitude = ((uint32_t)1 << (bits - 1u)) - 1u;
    int32_t top = (int32_t)magnitude;
    if (x > top) {
        return top;
    }
    return (x < -top) ? -top : x;
}

/* scff_requantise for 32-bit values. bits 2..16. */
static inline int32_t scff_requantise_32(int32_t x, int32_t shift, uint32_t bits, scff_rounding_t rounding)
{
    if ((shift < 1) || (shift > 31)) {
        return scff_requantise(x, shift, bits, rounding);
    }
    return scff_saturate_32(scff_round_32(x, (uint32_t)shift, rounding), bits);
}

/* Stochastic rounding of x * 2^-shift: up with the probability of its fraction. drawn: 16 random bits; shift 1..31. */
static inline int32_t scff_round_at_random_32(int32_t x, uint32_t shift, uint32_t drawn)
{
    uint32_t cut = (uint32_t)x & (((uint32_t)1 << shift) - 1u);
    uint32_t dither = (shift <= 16u) ? (drawn >> (16u - shift))
                                     : ((drawn << (shift - 16u)) + ((uint32_t)1 << (shift - 17u)));
    uint32_t carry = (cut + dither) >> shift;
    return scff_asr_32(x, shift) + (int32_t)carry;
}

/* x / n rounded to the nearest integer, halves up; |x| < 2^61, n 1..2^31-1. */
int64_t scff_divide(int64_t x, uint32_t n);

/* The largest integer whose square is at most x. */
uint32_t scff_isqrt(uint64_t x);

/* Bit length of x; 0 for 0. */
uint32_t scff_bit_length(uint64_t x);

/* 2 / count as *mantissa * 2^-(15 + *shift), mantissa of 15 bits (16 if count is a power of two); count 2..2^47. */
void scff_two_over(uint64_t count, int32_t *mantissa, int32_t *shift);

/* 1 / (1 + exp(-t)) with 15 fraction bits, for t with 5 fraction bits, clipped to -8..8. */
int32_t scff_logistic(int64_t t);

/* The next state of the generator (13, 17, 5); states are never 0. */
uint32_t scff_xorshift32(uint32_t state);

/* The first state of the generator of a row of weights. */
uint32_t scff_first_state(uint32_t seed, uint32_t row);

#endif /* SCFF_ARITHMETIC_H */
