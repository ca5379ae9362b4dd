/* Inner loops, with the same integers on every path: scalar, SMLAD (Cortex-M4, M7, M33), MVE (Cortex-M55). */
#ifndef SCFF_KERNELS_H
#define SCFF_KERNELS_H

#include "scff_arithmetic.h"

/* sum of a[i] * b[i]; a, b [count], the sum fits int32 */
int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count);

/*
 * Rows of weights times one x: sums[r] = sum of rows[r][i] * x[i].
 *   rows [units][count], x [count], sums [units]; each sum fits int32
 */
void scff_dots(const int8_t *rows, const int8_t *x, uint32_t count, uint32_t units, int32_t *sums);

/* sum of a[i] * b[i]; a int16 [count], b int8 [count], the sum fits int32 */
int32_t scff_dot_wide(const int16_t *a, const int8_t *b, uint32_t count);

/* sum[i] += a * x[i]; x [count], sums fit int32 */
void scff_add_scaled(int32_t *sum, int32_t a, const int8_t *x, uint32_t count);

/* sum[i] += a * x[i] + b * y[i]; a, b within int16, x, y [count], sums fit int32 */
void scff_add_scaled_pair(int32_t *sum, int32_t a, const int8_t *x, int32_t b, const int8_t *y, uint32_t count);

/*
 * Zero mean and unit unbiased standard deviation, in place; zeros where x is constant.
 *   x    [count], int8; count 1..65 536
 *   bits 4..8, frac of the result
 */
void scff_standardise(int8_t *x, uint32_t count, uint32_t bits, int32_t frac, scff_rounding_t rounding);

/* x [channels][height][width] with `padding` more values on each side by reflection, into padded. */
void scff_reflect(const int8_t *x, int8_t *padded, uint32_t channels, uint32_t height, uint32_t width,
                  uint32_t padding);

/*
 * What a window of a pool covers along one axis.
 *   length   of the axis, without padding
 *   index    of the window
 *   from, to the covered values are from..to-1
 *   returns  how many an average divides by: padded zeros count, what lies beyond them does not
 */
uint32_t scff_window(const scff_pool_t *pool, uint32_t length, uint32_t index, uint32_t *from, uint32_t *to);

/* x [channels][height][width] pooled, into y [channels][out_height][out_width]; they may not overlap. */
void scff_pool(const scff_pool_t *pool, const int8_t *x, uint32_t channels, uint32_t height, uint32_t width, int8_t *y);

/*
 * Standardised input rows to pre-activations.
 *   x     [padded n], standardised
 *   field [F], scratch; may be NULL for a dense layer
 *   v     [P][C], int16
 */
void scff_pre_activations(const scff_layer_t *layer, scff_params_t params, const int8_t *x, int8_t *field, int16_t *v);

#define SCFF_HALF_BITS 7u
#define SCFF_WHOLE_HALF 128 /* 1 with SCFF_HALF_BITS fraction bits */

/* The halves of a pair. */
typedef struct {
    const int16_t *a; /* [P][C], pre-activations */
    const int16_t *b; /* likewise; NULL where pairs are passed */
    int32_t weight_a; /* SCFF_WHOLE_HALF, or another where one half is constant; a and b weigh twice that together */
} scff_pair_t;

/* A pair's pre-activation, of 18 bits. */
static inline int32_t scff_paired(const scff_layer_t *layer, const scff_pair_t *pair, size_t at)
{
    int32_t z = pair->a[at];
    if (pair->b != NULL) {
        int32_t b = pair->b[at];
        if (pair->weight_a == SCFF_WHOLE_HALF) {
            z += b;
        } else {
            int32_t weighed = (pair->weight_a * z) + (((2 * SCFF_WHOLE_HALF) - pair->weight_a) * b);
            z = scff_round_32(weighed, SCFF_HALF_BITS, layer->rounding);
        }
    }
    return z;
}

/*
 * What a pair passes on.
 *   means [P], scratch
 *   y     [scff_transmitted]
 */
void scff_pass_on(const scff_layer_t *layer, const scff_pair_t *pair, int32_t *means, int8_t *y);

/*
 * One unit's weights and bias, changed by the errors of a batch.
 *   x        [rows][padded n], standardised
 *   error    [rows][P], int16
 *   gradient [F], scratch
 */
void scff_update_unit(const scff_layer_t *layer, const scff_state_t *state, uint32_t unit, const int8_t *x,
                      const int16_t *error, uint32_t rows, int32_t rate_shift, int32_t *gradient);

/*
 * The same by what a batch summed up already.
 *   gradient [F], sums of error times what the weight read
 *   error    the sum of the unit's errors
 */
void scff_apply_unit(const scff_layer_t *layer, const scff_state_t *state, uint32_t unit, const int32_t *gradient,
                     int64_t error, int32_t rate_shift);

/*
 * Sums of squared outputs of a sample's positive and negative pair become coefficients.
 *   positive, negative [P]
 *   mantissa           of scff_two_over
 */
void scff_coefficients(const scff_layer_t *layer, int32_t *positive, int32_t *negative, int32_t mantissa);

/* What updates change of weight `at`: its shadow, or the weight itself. */
int32_t scff_held(const scff_layer_t *layer, const int8_t *weight, const void *shadow, size_t at);

/* Takes over what is held of weight `at`, and the weight that the MVM reads of it. */
void scff_hold(const scff_layer_t *layer, const scff_state_t *state, size_t at, int32_t value);

/* held - change, saturated to `bits`; whatever the change. */
int32_t scff_less(int32_t before, int64_t change, uint32_t bits);

/* Takes `change` off what is held of weight `at`. */
void scff_change(const scff_layer_t *layer, const scff_state_t *state, size_t at, int64_t change);

/* Inputs of a sample with its padding. */
uint32_t scff_padded_inputs(const scff_layer_t *layer);

/* Bytes of scratch for one receptive field, which a dense layer needs none of. */
uint32_t scff_field(const scff_layer_t *layer);

/* The next even number of bytes, after which values of 16 bits are aligned. */
static inline uint64_t scff_even(uint64_t bytes)
{
    return bytes + (bytes % 2u);
}

/* A number of bytes; where size_t cannot hold it, the largest, which no buffer has. */
static inline size_t scff_size(uint64_t bytes)
{
#if SIZE_MAX < UINT64_MAX
    return (bytes > SIZE_MAX) ? SIZE_MAX : (size_t)bytes;
#else
    return bytes;
#endif
}

/* Where `column` of `row` is, in rows of `width` values; size_t may be narrower than uint32_t. */
static inline size_t scff_at(uint32_t row, uint32_t width, uint32_t column)
{
    return ((size_t)row * (size_t)width) + (size_t)column;
}

/* Fraction bits of a unit's weights. */
static inline int32_t scff_weight_frac(const scff_layer_t *layer, uint32_t unit)
{
    return layer->weight_frac[(layer->weight_fracs > 1u) ? unit : 0u];
}

/* Fraction bits of what updates change, beyond those of the weight. */
static inline int32_t scff_held_guard(const scff_layer_t *layer)
{
    return (layer->shadow_bits != 0u) ? ((int32_t)layer->shadow_bits - (int32_t)layer->weight_bits) : 0;
}

/* Bits of what updates change. */
static inline uint32_t scff_held_bits(const scff_layer_t *layer)
{
    return (layer->shadow_bits != 0u) ? layer->shadow_bits : layer->weight_bits;
}

/* What goodness and errors see of a pre-activation of a pair. */
static inline int32_t scff_output(const scff_layer_t *layer, int32_t z)
{
    int32_t shift = (int32_t)layer->pre_activation_frac - (int32_t)layer->output_frac;
    return (z <= 0) ? 0 : scff_requantise_32(z, shift, layer->output_bits, layer->rounding);
}

#define SCFF_BIAS_BITS 32u
#define SCFF_BIAS_GUARD_BITS 8

#endif /* SCFF_KERNELS_H */
