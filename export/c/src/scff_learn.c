#include "scff_kernels.h"

#define COEFFICIENT_BITS 15
#define COEFFICIENT_WIDTH 16u
#define GOODNESS_BITS 5
/* With SCFF_HALF_BITS fraction bits: sqrt(2), the weight of a half whose partner is constant, and 2 - sqrt(2). */
#define HALF_BESIDE_BLANK 181
#define BLANK_HALF 75

/* A batch in a layer: row k is sample k, row `last + k` its second view or negative sample. */
typedef struct {
    const scff_layer_t *layer;
    uint32_t count;   /* N */
    uint32_t rows;    /* R */
    uint32_t last;    /* R - N */
    uint32_t partner; /* sample k is paired with k + partner */
    size_t row_size;  /* P C */
    const int16_t *v; /* [R][P][C] */
    const uint8_t *blank; /* [R], 1 if all inputs of the MVM are 0 */
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

/* The sample that has k as its partner. */
static uint32_t partnered_by(const scff_pass_t *pass, uint32_t k)
{
    return (k >= pass->partner) ? (k - pass->partner) : (k + pass->count - pass->partner);
}

/* Two rows as a pair: if one half is constant the other's weight is sqrt(2), as in the pair's joint standardisation. */
static scff_pair_t pair_of(const scff_pass_t *pass, uint32_t first, uint32_t second)
{
    scff_pair_t pair = {row_of(pass, first), row_of(pass, second), SCFF_WHOLE_HALF};
    if (pass->blank[first] < pass->blank[second]) {
        pair.weight_a = HALF_BESIDE_BLANK;
    }
    if (pass->blank[first] > pass->blank[second]) {
        pair.weight_a = BLANK_HALF;
    }
    return pair;
}

static scff_pair_t passed_pair(const scff_pass_t *pass, uint32_t row)
{
    scff_pair_t pair = {row_of(pass, row), NULL, SCFF_WHOLE_HALF};
    return pair;
}

/* The halves of sample k's positive and negative pair. */
static scff_pair_t positive_pair(const scff_pass_t *pass, uint32_t k)
{
    return (pass->layer->makes_pairs != 0u) ? pair_of(pass, k, pass->last + k) : passed_pair(pass, k);
}

static scff_pair_t negative_pair(const scff_pass_t *pass, uint32_t k)
{
    return (pass->layer->makes_pairs != 0u) ? pair_of(pass, k, pass->last + partner_of(pass, k))
                                            : passed_pair(pass, pass->last + k);
}

/* Output of a pair's pre-activation: rectified, requantised. */
static int32_t output_of(const scff_layer_t *layer, const scff_pair_t *pair, size_t at)
{
    return scff_output(layer, scff_paired(layer, pair, at));
}

/* sums[p] = sum over units of squared outputs at position p */
static void sum_squares(const scff_layer_t *layer, const scff_pair_t *pair, int32_t *sums)
{
    for (uint32_t p = 0; p < scff_positions(layer); p++) {
        int32_t sum = 0;
        for (uint32_t unit = 0; unit < layer->units; unit++) {
            int32_t y = output_of(layer, pair, scff_at(p, layer->units, unit));
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

/* Error at a half with weight `weight`, from an error of 23 bits at its pair. */
static int32_t share_of(const scff_layer_t *layer, int32_t error, int32_t weight)
{
    return (weight == SCFF_WHOLE_HALF) ? error : scff_round_32(error * weight, SCFF_HALF_BITS, layer->rounding);
}

/* Errors at both halves of a pair. */
typedef struct {
    int32_t at_a;
    int32_t at_b;
} scff_shares_t;

/* Output times gain of a pair of sample k at position p, for one unit. */
static scff_shares_t shares_of(const scff_pass_t *pass, const scff_pair_t *pair, int32_t coefficient, uint32_t p,
                               uint32_t unit)
{
    int32_t error = output_of(pass->layer, pair, scff_at(p, pass->layer->units, unit)) * coefficient;
    scff_shares_t shares = {share_of(pass->layer, error, pair->weight_a),
                            share_of(pass->layer, error, (2 * SCFF_WHOLE_HALF) - pair->weight_a)};
    return shares;
}

/* Errors y_pos c_pos and y_neg c_neg. */
static scff_shares_t pulls_of(const scff_pass_t *pass, const int32_t *positive, uint32_t k, uint32_t p, uint32_t unit)
{
    scff_pair_t pair = positive_pair(pass, k);
    return shares_of(pass, &pair, -positive[scff_at(k, scff_positions(pass->layer), p)], p, unit);
}

static scff_shares_t pushes_of(const scff_pass_t *pass, const int32_t *negative, uint32_t k, uint32_t p, uint32_t unit)
{
    scff_pair_t pair = negative_pair(pass, k);
    return shares_of(pass, &pair, negative[scff_at(k, scff_positions(pass->layer), p)], p, unit);
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
            scff_shares_t pulls = pulls_of(pass, positive, k, p, unit);
            scff_shares_t pushes = pushes_of(pass, negative, k, p, unit);
            int32_t at_first = pulls.at_a;
            int32_t at_second = pushes.at_a;
            if (layer->makes_pairs != 0u) {
                /* the negative pair with this sample as its second half */
                scff_shares_t others = pushes_of(pass, negative, partnered_by(pass, k), p, unit);
                at_first = pulls.at_a + pushes.at_a;
                at_second = pulls.at_b + others.at_b;
            }
            if (second == first) {
                at_first += at_second;
            } else {
                error[second] = (int16_t)scff_requantise_32(at_second, shift, layer->error_bits, layer->rounding);
            }
            error[first] = (int16_t)scff_requantise_32(at_first, shift, layer->error_bits, layer->rounding);
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

/* 1 where all `count` values are 0. */
static uint8_t all_zero(const int8_t *x, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (x[i] != 0) {
            return 0;
        }
    }
    return 1;
}

/*
 * Scratch: two sums per sample and position; a row of gradients (or means); inputs, flags of blank rows and a receptive
 * field, an even number of bytes; pre-activations; errors.
 */
static uint64_t bytes_of(const scff_layer_t *layer, uint32_t rows)
{
    return scff_even(((uint64_t)rows * ((uint64_t)scff_padded_inputs(layer) + 1u)) + scff_field(layer));
}

size_t scff_learn_scratch(const scff_layer_t *layer, uint32_t count, int second)
{
    uint32_t rows = rows_of(layer, count, second);
    uint64_t positions = scff_positions(layer);
    uint64_t words = ((uint64_t)2u * count * positions) + larger(scff_fan_in(layer), scff_positions(layer));
    uint64_t halves = rows * positions * ((uint64_t)layer->units + 1u);
    return scff_size((words * sizeof(int32_t)) + bytes_of(layer, rows) + (halves * sizeof(int16_t)));
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
        /* a passed pair has both streams */
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
    uint8_t *blank = (uint8_t *)&x[scff_at(rows, padded, 0u)];
    int8_t *field = &x[scff_at(rows, padded, rows)];
    int16_t *v = (int16_t *)&x[scff_size(bytes_of(layer, rows))];
    int16_t *error = &v[(size_t)rows * positions * layer->units];
    scff_pass_t pass = {layer, count, rows, rows - count, batch->partner_shift, scff_at(positions, layer->units, 0u), v,
                        blank};
    scff_params_t params = {state->weight, state->bias};

    for (uint32_t row = 0; row < rows; row++) {
        const int8_t *raw = (row < count) ? &batch->x[(size_t)row * inputs]
                                          : &batch->second[((size_t)row - count) * inputs];
        int8_t *read = &x[(size_t)row * padded];
        scff_reflect(raw, read, layer->channels, layer->height, layer->width, layer->padding);
        scff_standardise(read, padded, layer->standardised_bits, layer->standardised_frac, layer->rounding);
        blank[row] = all_zero(read, padded);
        scff_pre_activations(layer, params, read, field, &v[row * pass.row_size]);
    }
    int32_t mantissa = 0;
    int32_t exponent = 0;
    scff_two_over((uint64_t)layer->units * layer->learned_positions * count, &mantissa, &exponent);
    for (uint32_t k = 0; k < count; k++) {
        size_t at = scff_at(k, positions, 0u);
        scff_pair_t pair = positive_pair(&pass, k);
        sum_squares(layer, &pair, &positive[at]);
        if (y_pos != NULL) {
            scff_transmit(layer, &pair, gradient, &y_pos[(size_t)k * scff_transmitted(layer)]);
        }
        pair = negative_pair(&pass, k);
        sum_squares(layer, &pair, &negative[at]);
        if (y_neg != NULL) {
            scff_transmit(layer, &pair, gradient, &y_neg[(size_t)k * scff_transmitted(layer)]);
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
