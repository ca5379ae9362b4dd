/* Internal kernels; every path gives the same integers: scalar, SMLAD (Cortex-M4, M7, M33), MVE (Cortex-M55). */
#ifndef SCFF_KERNELS_H
#define SCFF_KERNELS_H

#include "scff_arithmetic.h"

/* sum of a[i] * b[i]; a, b [count], the sum fits int32 */
int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count);

/*
 * Matrix times vector: sums[r] = sum of rows[r][i] * x[i].
 * @param rows [units][count], int8
 * @param x    [count], int8
 * @param sums out: [units]; each sum fits int32
 */
void scff_dots(const int8_t *rows, const int8_t *x, uint32_t count, uint32_t units, int32_t *sums);

/* sum of a[i] * b[i]; a int16 [count], b int8 [count], the sum fits int32 */
int32_t scff_dot_wide(const int16_t *a, const int8_t *b, uint32_t count);

/* sum[i] += a * x[i]; x [count], sums fit int32 */
void scff_add_scaled(int32_t *sum, int32_t a, const int8_t *x, uint32_t count);

/* sum[i] += a * x[i] + b * y[i]; a, b within int16, x, y [count], sums fit int32 */
void scff_add_scaled_pair(int32_t *sum, int32_t a, const int8_t *x, int32_t b, const int8_t *y, uint32_t count);

/*
 * Standardise in place: zero mean, unit unbiased standard deviation; zeros if x is constant.
 * @param x    [count], int8; count 1..65 536
 * @param bits 4..8, of the result
 * @param frac fraction bits of the result
 */
void scff_standardise(int8_t *x, uint32_t count, uint32_t bits, int32_t frac, scff_rounding_t rounding);

/* Pad x [channels][height][width] by reflection, `padding` values on each side, into `padded`. */
void scff_reflect(const int8_t *x, int8_t *padded, uint32_t channels, uint32_t height, uint32_t width,
                  uint32_t padding);

/*
 * Extent of a pooling window along one axis.
 * @param length number of values along the axis, without padding
 * @param index  index of the window
 * @param from   out: first value in the window
 * @param to     out: last value in the window + 1
 * @return divisor of an average: values in the window, padded zeros included
 */
uint32_t scff_window(const scff_pool_t *pool, uint32_t length, uint32_t index, uint32_t *from, uint32_t *to);

/* Pool x [channels][height][width] into y [channels][out_height][out_width]; they must not overlap. */
void scff_pool(const scff_pool_t *pool, const int8_t *x, uint32_t channels, uint32_t height, uint32_t width, int8_t *y);

/*
 * MVM: pre-activations of one standardised input.
 * @param x     [padded n], standardised
 * @param field scratch: [F], one receptive field; may be NULL for a dense layer
 * @param v     out: [P][C], int16
 */
void scff_pre_activations(const scff_layer_t *layer, scff_params_t params, const int8_t *x, int8_t *field, int16_t *v);

#define SCFF_HALF_BITS 7u
#define SCFF_WHOLE_HALF 128 /* 1 with SCFF_HALF_BITS fraction bits */

/* The halves of a pair. */
typedef struct {
    const int16_t *a; /* [P][C], pre-activations */
    const int16_t *b; /* likewise; NULL where pairs are passed */
    int32_t weight_a; /* of a; b has 2 SCFF_WHOLE_HALF - weight_a. SCFF_WHOLE_HALF unless one half is constant */
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
 * Output of a pair.
 * @param means scratch: [P]
 * @param y     out: [scff_transmitted]
 */
void scff_transmit(const scff_layer_t *layer, const scff_pair_t *pair, int32_t *means, int8_t *y);

/*
 * Update a unit's weights and bias from the errors of a batch.
 * @param x        [rows][padded n], standardised
 * @param error    [rows][P], int16
 * @param gradient scratch: [F]
 */
void scff_update_unit(const scff_layer_t *layer, const scff_state_t *state, uint32_t unit, const int8_t *x,
                      const int16_t *error, uint32_t rows, int32_t rate_shift, int32_t *gradient);

/*
 * Update a unit's weights and bias from summed gradients.
 * @param gradient [F], sums of error times input
 * @param error    sum of the unit's errors
 */
void scff_apply_unit(const scff_layer_t *layer, const scff_state_t *state, uint32_t unit, const int32_t *gradient,
                     int64_t error, int32_t rate_shift);

/*
 * Turn sums of squared outputs into gains (error = gain * output), in place.
 * @param positive [P], of a sample's positive pair
 * @param negative [P], of its negative pair
 * @param mantissa from scff_two_over
 */
void scff_coefficients(const scff_layer_t *layer, int32_t *positive, int32_t *negative, int32_t mantissa);

/* The stored value of weight `at`: its shadow, or the weight itself where there is no shadow. */
int32_t scff_shadow_get(const scff_layer_t *layer, const int8_t *weight, const void *shadow, size_t at);

/* Set the stored value of weight `at`, and requantise the weight that the MVM reads. */
void scff_shadow_set(const scff_layer_t *layer, const scff_state_t *state, size_t at, int32_t value);

/* value - change, saturated to `bits`; change may be any int32. */
int32_t scff_sub_sat(int32_t before, int64_t change, uint32_t bits);

/* Subtract `change` from the stored value of weight `at`. */
void scff_change(const scff_layer_t *layer, const scff_state_t *state, size_t at, int64_t change);

/* Number of inputs of a sample, padding included. */
uint32_t scff_padded_inputs(const scff_layer_t *layer);

/* Scratch for one receptive field, in bytes; 0 for a dense layer. */
uint32_t scff_field(const scff_layer_t *layer);

/* Round up to an even number of bytes, so that 16-bit values after them are aligned. */
static inline uint64_t scff_even(uint64_t bytes)
{
    return bytes + (bytes % 2u);
}

/* Convert to size_t; SIZE_MAX if size_t is too narrow, which no buffer has. */
static inline size_t scff_size(uint64_t bytes)
{
#if SIZE_MAX < UINT64_MAX
    return (bytes > SIZE_MAX) ? SIZE_MAX : (size_t)bytes;
#else
    return bytes;
#endif
}

/* Index of [row][column] in rows of `width` values; size_t may be narrower than uint32_t. */
static inline size_t scff_at(uint32_t row, uint32_t width, uint32_t column)
{
    return ((size_t)row * (size_t)width) + (size_t)column;
}

/* Fraction bits of a unit's weights. */
static inline int32_t scff_weight_frac(const scff_layer_t *layer, uint32_t unit)
{
    return layer->weight_frac[(layer->weight_fracs > 1u) ? unit : 0u];
}

/* Fraction bits of the stored value beyond those of the weight. */
static inline int32_t scff_shadow_guard(const scff_layer_t *layer)
{
    return (layer->shadow_bits != 0u) ? ((int32_t)layer->shadow_bits - (int32_t)layer->weight_bits) : 0;
}

/* Bits of the stored value. */
static inline uint32_t scff_stored_bits(const scff_layer_t *layer)
{
    return (layer->shadow_bits != 0u) ? layer->shadow_bits : layer->weight_bits;
}

/* Output of a pair's pre-activation: rectified, requantised. */
static inline int32_t scff_output(const scff_layer_t *layer, int32_t z)
{
    int32_t shift = (int32_t)layer->pre_activation_frac - (int32_t)layer->output_frac;
    return (z <= 0) ? 0 : scff_requantise_32(z, shift, layer->output_bits, layer->rounding);
}

#define SCFF_BIAS_BITS 32u
#define SCFF_BIAS_GUARD_BITS 8

#endif /* SCFF_KERNELS_H */
