#include "scff_arithmetic.h"

#define DRAW_BITS 16u

static int64_t shift_left(int64_t x, uint32_t shift)
{
    if (x == 0) {
        return 0;
    }
    int64_t most = (shift > 62u) ? 0 : scff_asr(INT64_MAX, shift);
    if ((x > most) || (x < -most)) {
        return (x > 0) ? INT64_MAX : -INT64_MAX;
    }
    return x * scff_power(shift);
}

int64_t scff_shift_right(int64_t x, int32_t shift, scff_rounding_t rounding)
{
    if (shift <= 0) {
        return shift_left(x, (uint32_t)(-shift));
    }
    if (shift > 62) {
        return 0;
    }
    int64_t half = scff_power((uint32_t)shift - 1u);
    if (rounding == SCFF_HALF_EVEN) {
        half += (scff_asr(x, (uint32_t)shift) & 1) - 1;
    }
    return scff_asr(x + half, (uint32_t)shift);
}

int64_t scff_shift_right_at_random(int64_t x, int32_t shift, uint32_t drawn)
{
    if (shift <= 0) {
        return shift_left(x, (uint32_t)(-shift));
    }
    if (shift <= (int32_t)DRAW_BITS) {
        uint32_t dither = drawn >> (DRAW_BITS - (uint32_t)shift);
        return scff_asr(x + (int64_t)dither, (uint32_t)shift);
    }
    if (shift > 61) {
        /* |x| < 2^61 is less than one step: only the dither decides */
        shift = 61;
    }
    uint32_t beyond = (uint32_t)shift - DRAW_BITS;
    int64_t dither = ((int64_t)drawn * scff_power(beyond)) + scff_power(beyond - 1u);
    return scff_asr(x + dither, (uint32_t)shift);
}

int64_t scff_divide(int64_t x, uint32_t n)
{
    int64_t top = (2 * x) + (int64_t)n;
    int64_t below = 2 * (int64_t)n;
    int64_t quotient = top / below;
    if ((top < 0) && ((quotient * below) != top)) {
        quotient -= 1; /* C rounds towards zero */
    }
    return quotient;
}

uint32_t scff_bit_length(uint64_t x)
{
    uint32_t bits = 0;
    while (x != 0u) {
        x >>= 1;
        bits += 1u;
    }
    return bits;
}

uint32_t scff_isqrt(uint64_t x)
{
    uint64_t root = 0;
    uint64_t bit = (uint64_t)1 << 62;
    while (bit > x) {
        bit >>= 2;
    }
    while (bit != 0u) {
        if (x >= (root + bit)) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    return (uint32_t)root;
}

void scff_two_over(uint64_t count, int32_t *mantissa, int32_t *shift)
{
    uint32_t exponent = scff_bit_length(count - 1u) - 1u; /* 2^exponent / count is in [1/2, 1) */
    uint64_t twice = (uint64_t)2 * count;
    uint64_t scaled = (uint64_t)scff_power(16u + exponent);
    uint64_t quotient = (scaled + count) / twice;
    *mantissa = (int32_t)quotient;
    *shift = (int32_t)exponent - 1;
}

uint32_t scff_xorshift32(uint32_t state)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

uint32_t scff_first_state(uint32_t seed, uint32_t row)
{
    uint32_t h = seed + (row * 0x9E3779B9u);
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    h ^= h >> 16;
    return (h != 0u) ? h : 1u;
}
