/*
 * The inner loops. The compiler's target chooses the path; -DSCFF_SCALAR takes the portable one everywhere.
 * Sums are exact on each, so all give the same integers.
 */
#include "scff_kernels.h"

#if defined(__ARM_FEATURE_MVE) && !defined(SCFF_SCALAR)

#include <arm_mve.h>

int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i += 16u) {
        mve_pred16_t used = vctp8q(count - i);
        sum = vmladavaq_p_s8(sum, vldrbq_z_s8(&a[i], used), vldrbq_z_s8(&b[i], used), used);
    }
    return sum;
}

int32_t scff_dot_wide(const int16_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i += 8u) {
        mve_pred16_t used = vctp16q(count - i);
        sum = vmladavaq_p_s16(sum, vldrhq_z_s16(&a[i], used), vldrbq_z_s16(&b[i], used), used);
    }
    return sum;
}

void scff_add_scaled(int32_t *sum, int32_t a, const int8_t *x, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 4u) {
        mve_pred16_t used = vctp32q(count - i);
        int32x4_t total = vmlaq_n_s32(vldrwq_z_s32(&sum[i], used), vldrbq_z_s32(&x[i], used), a);
        vstrwq_p_s32(&sum[i], total, used);
    }
}

void scff_add_scaled_pair(int32_t *sum, int32_t a, const int8_t *x, int32_t b, const int8_t *y, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 4u) {
        mve_pred16_t used = vctp32q(count - i);
        int32x4_t total = vmlaq_n_s32(vldrwq_z_s32(&sum[i], used), vldrbq_z_s32(&x[i], used), a);
        total = vmlaq_n_s32(total, vldrbq_z_s32(&y[i], used), b);
        vstrwq_p_s32(&sum[i], total, used);
    }
}

#else

#if defined(__ARM_FEATURE_SIMD32) && !defined(SCFF_SCALAR)

#include <arm_acle.h>
#include <string.h>

#define IN_PAIRS 4u /* values that one step takes */

/* Four bytes from any address: one LDR. */
static uint32_t four(const void *from)
{
    uint32_t word;
    (void)memcpy(&word, from, sizeof word);
    return word;
}

/* Bytes 0 and 2 of a word, each widened to 16 bits. */
static uint32_t even(uint32_t word)
{
    return (uint32_t)__sxtb16((int8x4_t)word);
}

/* Bytes 1 and 3. */
static uint32_t odd(uint32_t word)
{
    return (uint32_t)__sxtb16((int8x4_t)(word >> 8));
}

/* The lower halves of two words, and their upper halves, the first below the second. */
static uint32_t lower(uint32_t first, uint32_t second)
{
    return (first & 0xFFFFu) | (second << 16);
}

static uint32_t upper(uint32_t first, uint32_t second)
{
    return (first >> 16) | (second & 0xFFFF0000u);
}

/* sum + the products of two pairs of 16 bits */
static int32_t add_products(uint32_t a, uint32_t b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}

static int32_t dot_in_pairs(const int8_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i += IN_PAIRS) {
        uint32_t x = four(&a[i]);
        uint32_t y = four(&b[i]);
        sum = add_products(even(x), even(y), sum);
        sum = add_products(odd(x), odd(y), sum);
    }
    return sum;
}

static int32_t dot_wide_in_pairs(const int16_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i += IN_PAIRS) {
        uint32_t y = four(&b[i]);
        sum = add_products(four(&a[i]), lower(even(y), odd(y)), sum);
        sum = add_products(four(&a[i + 2u]), upper(even(y), odd(y)), sum);
    }
    return sum;
}

static void add_pair_in_pairs(int32_t *sum, int32_t a, const int8_t *x, int32_t b, const int8_t *y, uint32_t count)
{
    uint32_t factors = lower((uint32_t)a, (uint32_t)b);
    for (uint32_t i = 0; i < count; i += IN_PAIRS) {
        uint32_t p = four(&x[i]);
        uint32_t q = four(&y[i]);
        sum[i] = add_products(factors, lower(even(p), even(q)), sum[i]);
        sum[i + 1u] = add_products(factors, lower(odd(p), odd(q)), sum[i + 1u]);
        sum[i + 2u] = add_products(factors, upper(even(p), even(q)), sum[i + 2u]);
        sum[i + 3u] = add_products(factors, upper(odd(p), odd(q)), sum[i + 3u]);
    }
}

#endif

/*
 * Portable, and the rest of what pairs leave over.
 */
int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count)
{
    uint32_t i = 0;
    int32_t sum = 0;
#if defined(IN_PAIRS)
    i = count - (count % IN_PAIRS);
    sum = dot_in_pairs(a, b, i);
#endif
    for (; i < count; i++) {
        sum += (int32_t)a[i] * (int32_t)b[i];
    }
    return sum;
}

int32_t scff_dot_wide(const int16_t *a, const int8_t *b, uint32_t count)
{
    uint32_t i = 0;
    int32_t sum = 0;
#if defined(IN_PAIRS)
    i = count - (count % IN_PAIRS);
    sum = dot_wide_in_pairs(a, b, i);
#endif
    for (; i < count; i++) {
        sum += (int32_t)a[i] * (int32_t)b[i];
    }
    return sum;
}

void scff_add_scaled(int32_t *sum, int32_t a, const int8_t *x, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sum[i] += a * (int32_t)x[i];
    }
}

void scff_add_scaled_pair(int32_t *sum, int32_t a, const int8_t *x, int32_t b, const int8_t *y, uint32_t count)
{
    uint32_t i = 0;
#if defined(IN_PAIRS)
    i = count - (count % IN_PAIRS);
    add_pair_in_pairs(sum, a, x, b, y, i);
#endif
    for (; i < count; i++) {
        sum[i] += (a * (int32_t)x[i]) + (b * (int32_t)y[i]);
    }
}

#endif
