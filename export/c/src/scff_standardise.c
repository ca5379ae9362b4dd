#include "scff_kernels.h"

#define MEAN_GUARD_BITS 6
#define MEAN_GUARD 64 /* 2^MEAN_GUARD_BITS */
#define RECIPROCAL_BITS 30u

void scff_standardise(int8_t *x, uint32_t count, uint32_t bits, int32_t frac, scff_rounding_t rounding)
{
    int32_t s1 = 0;
    int32_t s2 = 0;
    for (uint32_t i = 0; i < count; i++) {
        s1 += x[i];
        s2 += (int32_t)x[i] * (int32_t)x[i];
    }
    /* count (count - 1) times the variance; up to 2^46 */
    int64_t squares = ((int64_t)count * (int64_t)s2) - ((int64_t)s1 * (int64_t)s1);
    uint64_t v = (uint64_t)squares;
    uint32_t others = count - 1u;
    if (others == 0u) {
        others = 1u;
    }
    uint64_t d = (uint64_t)count * (uint64_t)others;
    if (v == 0u) {
        for (uint32_t i = 0; i < count; i++) {
            x[i] = 0;
        }
        return;
    }
    /* positive: int8 values have a variance below 2^15 */
    uint32_t e = (RECIPROCAL_BITS + scff_bit_length(d) - scff_bit_length(v)) >> 1u;
    uint32_t twice = 2u * e;
    uint32_t root = scff_isqrt((v << twice) / d);
    int64_t reciprocal = scff_power(RECIPROCAL_BITS) / ((root > 0u) ? (int64_t)root : 1);
    int64_t mean = scff_divide((int64_t)s1 * MEAN_GUARD, count);
    int32_t shift = (int32_t)RECIPROCAL_BITS + MEAN_GUARD_BITS - frac - (int32_t)e;
    for (uint32_t i = 0; i < count; i++) {
        int64_t centred = ((int64_t)x[i] * MEAN_GUARD) - mean;
        x[i] = (int8_t)scff_requantise(centred * reciprocal, shift, bits, rounding);
    }
}

/* The index of a padded position in `length` values, mirrored at the first and the last. */
static uint32_t mirrored(uint32_t index, uint32_t padding, uint32_t length)
{
    if (index < padding) {
        return padding - index;
    }
    index -= padding;
    return (index < length) ? index : ((2u * (length - 1u)) - index);
}

void scff_reflect(const int8_t *x, int8_t *padded, uint32_t channels, uint32_t height, uint32_t width,
                  uint32_t padding)
{
    uint32_t tall = height + (2u * padding);
    uint32_t wide = width + (2u * padding);
    for (uint32_t c = 0; c < channels; c++) {
        for (uint32_t i = 0; i < tall; i++) {
            const int8_t *row = &x[((c * height) + mirrored(i, padding, height)) * width];
            for (uint32_t j = 0; j < wide; j++) {
                *padded = row[mirrored(j, padding, width)];
                padded++;
            }
        }
    }
}
