/*
 * The inner loops. The compiler's target selects the path; -DSCFF_SCALAR selects the plain loop everywhere.
 * Sums are exact on every path, so all paths give the same integers.
 *
 * SMLAD reads words of four values. If an array or its rows do not begin at a multiple of 4 bytes, e.g. with an odd
 * fan-in, the portable loop is used. -DSCFF_UNALIGNED reads words from any address, for cores that do not trap unaligned words
 * (CCR.UNALIGN_TRP).
 */
#include "scff_kernels.h"

#if defined(SCFF_SCALAR)
/* portable */
#elif defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
#define IN_VECTORS
#elif defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
#define IN_PAIRS 4u /* values per iteration */
#else
/* portable */
#endif

#if defined(IN_VECTORS)

int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i += 16u) {
        mve_pred16_t used = vctp8q(count - i);
        sum = vmladavaq_p_s8(sum, vldrbq_z_s8(&a[i], used), vldrbq_z_s8(&b[i], used), used);
    }
    return sum;
}

void scff_dots(const int8_t *rows, const int8_t *x, uint32_t count, uint32_t units, int32_t *sums)
{
    uint32_t unit = 0;
    for (; (unit + 4u) <= units; unit += 4u) { /* four rows at once read x once */
        const int8_t *first = &rows[(size_t)unit * count];
        const int8_t *second = &first[count];
        const int8_t *third = &second[count];
        const int8_t *fourth = &third[count];
        int32_t a = 0;
        int32_t b = 0;
        int32_t c = 0;
        int32_t d = 0;
        for (uint32_t i = 0; i < count; i += 16u) {
            mve_pred16_t used = vctp8q(count - i);
            int8x16_t y = vldrbq_z_s8(&x[i], used); /* zeros past the end, whose products are 0 */
            a = vmladavaq_s8(a, vldrbq_z_s8(&first[i], used), y);
            b = vmladavaq_s8(b, vldrbq_z_s8(&second[i], used), y);
            c = vmladavaq_s8(c, vldrbq_z_s8(&third[i], used), y);
            d = vmladavaq_s8(d, vldrbq_z_s8(&fourth[i], used), y);
        }
        sums[unit] = a;
        sums[unit + 1u] = b;
        sums[unit + 2u] = c;
        sums[unit + 3u] = d;
    }
    for (; unit < units; unit++) {
        sums[unit] = scff_dot(&rows[(size_t)unit * count], x, count);
    }
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

#if defined(IN_PAIRS)

#if defined(SCFF_UNALIGNED)
#define ADDRESS_STEP 1u
#else
#define ADDRESS_STEP 4u
#endif

/* Read four bytes with one LDR, at a multiple of ADDRESS_STEP. With -ffreestanding, memcpy itself would be a call. */
static uint32_t four(const void *from)
{
    uint32_t word;
    (void)__builtin_memcpy(&word, __builtin_assume_aligned(from, ADDRESS_STEP), sizeof word);
    return word;
}

/* Number of values, of `count`, that can be read as words: all but a remainder if both addresses allow it, else 0. */
static uint32_t in_words(const void *a, const void *b, uint32_t count)
{
    if ((((uintptr_t)a | (uintptr_t)b) % ADDRESS_STEP) != 0u) {
        return 0u;
    }
    return count - (count % IN_PAIRS);
}

/* Bytes 0 and 2 of a word, each widened to 16 bits. */
static uint32_t even(uint32_t word)
{
    return (uint32_t)__sxtb16((int8x4_t)word);
}

/* Bytes 1 and 3: one SXTB16 with rotation, for which <arm_acle.h> has no intrinsic. */
static uint32_t odd(uint32_t word)
{
    uint32_t widened;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(widened) : "r"(word));
    return widened;
}

/* The lower halves of two words, and their upper halves, the first below the second: PKHBT and PKHTB. */
static uint32_t lower(uint32_t first, uint32_t second)
{
    uint32_t packed;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(packed) : "r"(first), "r"(second));
    return packed;
}

static uint32_t upper(uint32_t first, uint32_t second)
{
    uint32_t packed;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(packed) : "r"(second), "r"(first));
    return packed;
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

/* Stops the compiler from moving later loads up: no registers are left for their values. */
#define LOAD_LATER() __asm__ volatile("" : : : "memory")

/*
 * Four rows at once, which share the widened x. Not inlined, and with two pointers for four rows, so that the registers
 * are enough for the loop.
 */
static __attribute__((noinline)) void four_dots_in_pairs(const int8_t *first, const int8_t *x, size_t stride,
                                                         uint32_t count, int32_t *sums)
{
    const int8_t *third = &first[2u * stride];
    const int8_t *end = &x[count];
    int32_t a = 0;
    int32_t b = 0;
    int32_t c = 0;
    int32_t d = 0;
    while (x != end) {
        uint32_t word = four(x);
        uint32_t low = even(word);
        uint32_t high = odd(word);
        word = four(first);
        a = add_products(odd(word), high, add_products(even(word), low, a));
        LOAD_LATER();
        word = four(&first[stride]);
        b = add_products(odd(word), high, add_products(even(word), low, b));
        LOAD_LATER();
        word = four(third);
        c = add_products(odd(word), high, add_products(even(word), low, c));
        LOAD_LATER();
        word = four(&third[stride]);
        d = add_products(odd(word), high, add_products(even(word), low, d));
        x = &x[IN_PAIRS];
        first = &first[IN_PAIRS];
        third = &third[IN_PAIRS];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
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
 * Portable, also for the remainder after pairs.
 */
int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count)
{
    uint32_t i = 0;
    int32_t sum = 0;
#if defined(IN_PAIRS)
    i = in_words(a, b, count);
    sum = dot_in_pairs(a, b, i);
#endif
    for (; i < count; i++) {
        sum += (int32_t)a[i] * (int32_t)b[i];
    }
    return sum;
}

void scff_dots(const int8_t *rows, const int8_t *x, uint32_t count, uint32_t units, int32_t *sums)
{
    uint32_t unit = 0;
#if defined(IN_PAIRS)
    /* every row must begin at an address from which words can be read */
    uint32_t whole = ((count % ADDRESS_STEP) == 0u) ? in_words(rows, x, count) : 0u;
    for (; (whole != 0u) && ((unit + 4u) <= units); unit += 4u) {
        const int8_t *first = &rows[(size_t)unit * count];
        four_dots_in_pairs(first, x, count, whole, &sums[unit]);
        for (uint32_t row = 0; row < 4u; row++) {
            for (uint32_t i = whole; i < count; i++) {
                sums[unit + row] += (int32_t)first[(row * count) + i] * (int32_t)x[i];
            }
        }
    }
#endif
#if !defined(SCFF_SCALAR)
    for (; (unit + 4u) <= units; unit += 4u) { /* four rows at once read x once */
        const int8_t *first = &rows[(size_t)unit * count];
        const int8_t *second = &first[count];
        const int8_t *third = &second[count];
        const int8_t *fourth = &third[count];
        int32_t a = 0;
        int32_t b = 0;
        int32_t c = 0;
        int32_t d = 0;
        for (uint32_t i = 0; i < count; i++) {
            int32_t y = x[i];
            a += (int32_t)first[i] * y;
            b += (int32_t)second[i] * y;
            c += (int32_t)third[i] * y;
            d += (int32_t)fourth[i] * y;
        }
        sums[unit] = a;
        sums[unit + 1u] = b;
        sums[unit + 2u] = c;
        sums[unit + 3u] = d;
    }
#endif
    for (; unit < units; unit++) {
        sums[unit] = scff_dot(&rows[(size_t)unit * count], x, count);
    }
}

int32_t scff_dot_wide(const int16_t *a, const int8_t *b, uint32_t count)
{
    uint32_t i = 0;
    int32_t sum = 0;
#if defined(IN_PAIRS)
    i = in_words(a, b, count);
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
    i = in_words(x, y, count);
    add_pair_in_pairs(sum, a, x, b, y, i);
#endif
    for (; i < count; i++) {
        sum[i] += (a * (int32_t)x[i]) + (b * (int32_t)y[i]);
    }
}

#endif
