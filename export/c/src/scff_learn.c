#include "scff_kernels.h"

#define COEFFICIENT_BITS 15
#define COEFFICIENT_WIDTH 16u
#define GOODNESS_BITS 5

/* A batch on its way through a layer: row k is sample k, row `last + k` its other half. */
typedef struct {
    const scff_layer_t *layer;
    uint32_t count;   /* N */
    uint32_t rows;    /* R */
    uint32_t last;    /* R - N */
    uint32_t partner; /* sample k is paired with k + partner */
    size_t row_size;  /* P C */
    const int16_t *v; /* [R][P][C] */
} scff_pass_t;

static const int16_t *row_of(const scff_pass_t *pass, uint32_t row)
{
    return &pass->v[row * pass->row_size];
}

static uint32_t partner_of(const scff_pass_t *pass, uint32_t k)
{
    uint32_t n = k + pass->partner;
    return (n >= pass->count) ? (n - pass->count) : n;
}

/* The sample whose partner k is. */
static uint32_t partnered_by(const scff_pass_t *pass, uint32_t k)
{
    return (k >= pass->partner) ? (k - pass->partner) : (k + pass->count - pass->partner);
}

/* The halves of sample k's positive and negative pair; b is NULL where pairs are passed. */
static void positive_pair(const scff_pass_t *pass, uint32_t k, const int16_t **a, const int16_t **b)
{
    *a = row_of(pass, k);
    *b = (pass->layer->makes_pairs != 0u) ? row_of(pass, pass->last + k) : NULL;
}

static void negative_pair(const scff_pass_t *pass, uint32_t k, const int16_t **a, const int16_t **b)
{
    if (pass->layer->makes_pairs != 0u) {
        *a = row_of(pass, k);
        *b = row_of(pass, pass->last + partner_of(pass, k));
    } else {
        *a = row_of(pass, pass->last + k);
        *b = NULL;
    }
}

/* What goodness and errors see of a pre-activation of a pair. */
static int32_t output_of(const scff_layer_t *layer, const int16_t *a, const int16_t *b, size_t at)
{
    int32_t z = (b == NULL) ? (int32_t)a[at] : ((int32_t)a[at] + (int32_t)b[at]);
    return scff_output(layer, z);
}

/* sums[p] = sum over units of squared outputs at position p */
static void sum_squares(const scff_layer_t *layer, const int16_t *a, const int16_t *b, int32_t *sums)
{
    for (uint32_t p = 0; p < scff_positions(layer); p++) {
        int32_t sum = 0;
        for (uint32_t unit = 0; unit < layer->units; unit++) {
            int32_t y = output_of(layer, a, b, scff_at(p, layer->units, unit));
            sum += y * y;
        }
        sums[p] = sum;
    }
}

static int64_t goodness(const scff_layer_t *layer, int32_t sum)
{
    int32_t shift = layer->mean_shift + (2 * (int32_t)layer->output_frac) - GOODNESS_BITS;
    return scff_shift_right((int64_t)sum * layer->mean_factor, shift, layer->rounding);
}

void scff_coefficients(const scff_layer_t *layer, int32_t *positive, int32_t *negative, int32_t mantissa)
{
    uint32_t positions = scff_positions(layer);
    uint64_t squares = 0;
    for (uint32_t p = 0; p < positions; p++) {
        squares += (uint64_t)positive[p] * (uint64_t)positive[p];
    }
    int64_t norm = (int64_t)scff_isqrt(squares);
    if (norm == 0) {
        norm = 1;
    }
    for (uint32_t p = 0; p < positions; p++) {
        int64_t pull = scff_logistic(layer->theta_pos - goodness(layer, positive[p]));
        int64_t push = scff_logistic(goodness(layer, negative[p]) - layer->theta_neg);
        pull -= ((int64_t)positive[p] * layer->penalty) / norm; /* neither is negative: rounds down */
        positive[p] = scff_requantise(pull * mantissa, COEFFICIENT_BITS, COEFFICIENT_WIDTH, layer->rounding);
        negative[p] = scff_requantise(push * mantissa, COEFFICIENT_BITS, COEFFICIENT_WIDTH, layer->rounding);
    }
}

/* Products of output and coefficient of sample k at position p, for one unit: y_pos c_pos and y_neg c_neg. */
static int32_t pull_of(const scff_pass_t *pass, const int32_t *positive, uint32_t k, uint32_t p, uint32_t unit)
{
    const int16_t *a = NULL;
    const int16_t *b = NULL;
    positive_pair(pass, k, &a, &b);
    int32_t y = output_of(pass->layer, a, b, scff_at(p, pass->layer->units, unit));
    return -y * positive[((size_t)k * scff_positions(pass->layer)) + p];
}

static int32_t push_of(const scff_pass_t *pass, const int32_t *negative, uint32_t k, uint32_t p, uint32_t unit)
{
    const int16_t *a = NULL;
    const int16_t *b = NULL;
    negative_pair(pass, k, &a, &b);
    int32_t y = output_of(pass->layer, a, b, scff_at(p, pass->layer->units, unit));
    return y * negative[((size_t)k * scff_positions(pass->layer)) + p];
}

/* One unit's errors at the rows of the MVM, [R][P]. */
static void unit_errors(const scff_pass_t *pass, const scff_batch_t *batch, const int32_t *positive,
                        const int32_t *negative, uint32_t unit, int32_t shift, int16_t *error)
{
    const scff_layer_t *layer = pass->layer;
    uint32_t positions = scff_positions(layer);
    for (uint32_t k = 0; k < pass->count; k++) {
        for (uint32_t p = 0; p < positions; p++) {
            size_t first = scff_at(k, positions, p);
            size_t second = scff_at(pass->last + k, positions, p);
            int32_t pull = pull_of(pass, positive, k, p, unit);
            int32_t push = push_of(pass, negative, k, p, unit);
            int32_t other = push;
            if (layer->makes_pairs != 0u) {
                /* the negative pair that this sample is the second half of */
                other = push_of(pass, negative, partnered_by(pass, k), p, unit);
                if (second == first) {
                    pull = (2 * pull) + push + other;
                } else {
                    other += pull;
                    pull += push;
                }
            }
            error[first] = (int16_t)scff_requantise_32(pull, shift, layer->error_bits, layer->rounding);
            if (second != first) {
                error[second] = (int16_t)scff_requantise_32(other, shift, layer->error_bits, layer->rounding);
            }
        }
    }
    if (batch->chosen != NULL) {
        for (size_t i = 0; i < ((size_t)pass->rows * positions); i++) {
            if (batch->chosen[i] == 0u) {
                error[i] = 0;
            }
        }
    }
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return (a > b) ? a : b;
}

static uint32_t rows_of(const scff_layer_t *layer, uint32_t count, int second)
{
    if ((layer->makes_pairs == 0u) || (second != 0)) {
        return 2u * count;
    }
    return count;
}

/*
 * Scratch: two sums a sample and position, a row of gradients (or means); inputs and a field, of an even number of bytes;
 * pre-activations, errors.
 */
size_t scff_learn_scratch(const scff_layer_t *layer, uint32_t count, int second)
{
    uint64_t rows = rows_of(layer, count, second);
    uint64_t positions = scff_positions(layer);
    uint64_t words = ((uint64_t)2u * count * positions) + larger(scff_fan_in(layer), scff_positions(layer));
    uint64_t halves = rows * positions * ((uint64_t)layer->units + 1u);
    uint64_t bytes = scff_even((rows * scff_padded_inputs(layer)) + scff_field(layer));
    return scff_size((words * sizeof(int32_t)) + bytes + (halves * sizeof(int16_t)));
}

static scff_status_t check(const scff_layer_t *layer, const scff_state_t *state, const scff_batch_t *batch,
                           const void *scratch, size_t scratch_bytes)
{
    if ((layer == NULL) || (state == NULL) || (batch == NULL) || (state->weight == NULL) || (state->bias == NULL) ||
        (batch->x == NULL) || (batch->count < 2u)) {
        return SCFF_BAD_ARGUMENT;
    }
    if (((layer->shadow_bits != 0u) && (state->shadow == NULL)) ||
        ((layer->stochastic != 0u) && (state->states == NULL))) {
        return SCFF_BAD_ARGUMENT;
    }
    if (layer->makes_pairs != 0u) {
        if ((batch->partner_shift < 1u) || (batch->partner_shift >= batch->count)) {
            return SCFF_BAD_ARGUMENT;
        }
    } else if (batch->second == NULL) {
        return SCFF_BAD_ARGUMENT;
    } else {
        /* a pair is passed: both its streams are there */
    }
    if ((batch->rate_shift != SCFF_FROZEN) && ((batch->rate_shift < -16) || (batch->rate_shift > 40))) {
        return SCFF_BAD_ARGUMENT;
    }
    if ((batch->chosen == NULL) && (layer->learned_positions != scff_positions(layer))) {
        return SCFF_BAD_ARGUMENT;
    }
    if ((batch->count > layer->max_rows) || (rows_of(layer, batch->count, batch->second != NULL) > layer->max_rows)) {
        return SCFF_BATCH_TOO_LARGE;
    }
    return scff_check_scratch(scratch, scratch_bytes, scff_learn_scratch(layer, batch->count, batch->second != NULL));
}

scff_status_t scff_learn(const scff_layer_t *layer, const scff_state_t *state, const scff_batch_t *batch, int8_t *y_pos,
                         int8_t *y_neg, void *scratch, size_t scratch_bytes)
{
    scff_status_t status = check(layer, state, batch, scratch, scratch_bytes);
    if (status != SCFF_OK) {
        return status;
    }
    uint32_t count = batch->count;
    uint32_t rows = rows_of(layer, count, batch->second != NULL);
    uint32_t inputs = scff_inputs(layer);
    uint32_t padded = scff_padded_inputs(layer);
    uint32_t positions = scff_positions(layer);
    int32_t *positive = (int32_t *)scratch;
    int32_t *negative = &positive[(size_t)count * positions];
    int32_t *gradient = &negative[(size_t)count * positions];
    int8_t *x = (int8_t *)&gradient[larger(scff_fan_in(layer), positions)];
    int16_t *v = (int16_t *)&x[scff_size(scff_even(((uint64_t)rows * padded) + scff_field(layer)))];
    int16_t *error = &v[(size_t)rows * positions * layer->units];
    scff_pass_t pass = {layer, count, rows, rows - count, batch->partner_shift, scff_at(positions, layer->units, 0u), v};
    scff_params_t params = {state->weight, state->bias};

    for (uint32_t row = 0; row < rows; row++) {
        const int8_t *raw = (row < count) ? &batch->x[(size_t)row * inputs]
                                          : &batch->second[((size_t)row - count) * inputs];
        int8_t *read = &x[(size_t)row * padded];
        scff_reflect(raw, read, layer->channels, layer->height, layer->width, layer->padding);
        scff_standardise(read, padded, layer->standardised_bits, layer->standardised_frac, layer->rounding);
        scff_pre_activations(layer, params, read, &x[(size_t)rows * padded], &v[row * pass.row_size]);
    }
    int32_t mantissa = 0;
    int32_t exponent = 0;
    scff_two_over((uint64_t)layer->units * layer->learned_positions * count, &mantissa, &exponent);
    for (uint32_t k = 0; k < count; k++) {
        const int16_t *a = NULL;
        const int16_t *b = NULL;
        size_t at = scff_at(k, positions, 0u);
        positive_pair(&pass, k, &a, &b);
        sum_squares(layer, a, b, &positive[at]);
        if (y_pos != NULL) {
            scff_pass_on(layer, a, b, gradient, &y_pos[(size_t)k * scff_transmitted(layer)]);
        }
        negative_pair(&pass, k, &a, &b);
        sum_squares(layer, a, b, &negative[at]);
        if (y_neg != NULL) {
            scff_pass_on(layer, a, b, gradient, &y_neg[(size_t)k * scff_transmitted(layer)]);
        }
        scff_coefficients(layer, &positive[at], &negative[at], mantissa);
    }
    if (batch->rate_shift != SCFF_FROZEN) {
        int32_t shift = exponent + layer->output_frac + COEFFICIENT_BITS - layer->error_frac;
        for (uint32_t unit = 0; unit < layer->units; unit++) {
            unit_errors(&pass, batch, positive, negative, unit, shift, error);
            scff_update_unit(layer, state, unit, x, error, rows, batch->rate_shift, gradient);
        }
    }
    return SCFF_OK;
}
