#include "scff_rnn.h"

#include "scff_kernels.h"

#define ROWS 16u /* units of an MVM that are requantised together */
#define COEFFICIENT_BITS 15
#define MEAN_GUARD_BITS 6
#define MEAN_GUARD 64 /* 2^MEAN_GUARD_BITS */
#define MOST_SEQUENCES 1000000u
#define LARGEST_FACTOR 32767 /* largest factor of products that are added in pairs */

uint32_t scff_rnn_outputs(const scff_rnn_t *rnn)
{
    return (rnn->averages != 0u) ? (2u * rnn->hidden->units) : rnn->hidden->units;
}

/* Scratch: input drive of the frame and of the state; the frame. */
size_t scff_rnn_step_scratch(const scff_rnn_t *rnn)
{
    return scff_size(((uint64_t)rnn->hidden->units * 2u * sizeof(int16_t)) + rnn->inputs->channels);
}

/* Scratch: input drive of two frames and a state; the frames; outputs of both pairs. */
size_t scff_rnn_learn_scratch(const scff_rnn_t *rnn)
{
    uint64_t units = rnn->hidden->units;
    return scff_size((3u * units * sizeof(int16_t)) + ((uint64_t)2u * rnn->inputs->channels) + (2u * units));
}

uint32_t scff_rnn_max_steps(const scff_rnn_t *rnn)
{
    /* per step, a weight of W has three errors at the pair's own frame and one at the other; a weight of U has two */
    uint32_t inputs = rnn->inputs->max_rows / 4u;
    uint32_t hidden = rnn->hidden->max_rows / 2u;
    return (inputs < hidden) ? inputs : hidden;
}

static void clear(int32_t *sums, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sums[i] = 0;
    }
}

static int has_arrays(const scff_rnn_t *rnn)
{
    return ((rnn != NULL) && (rnn->inputs != NULL) && (rnn->hidden != NULL)) ? 1 : 0;
}

/* Check the arguments of a time step. */
static scff_status_t check_step(const scff_rnn_t *rnn, const scff_rnn_params_t *params, const scff_rnn_sequence_t *sequence,
                                const int8_t *frame)
{
    if ((has_arrays(rnn) == 0) || (params == NULL) || (sequence == NULL) || (frame == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    if ((params->inputs.weight == NULL) || (params->inputs.bias == NULL) || (params->hidden.weight == NULL) ||
        (params->hidden.bias == NULL) || (sequence->positive == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    if ((sequence->total == NULL) && (rnn->averages != 0u)) {
        return SCFF_BAD_ARGUMENT;
    }
    return ((sequence->total != NULL) && (sequence->steps >= SCFF_RNN_MAX_STEPS)) ? SCFF_BATCH_TOO_LARGE : SCFF_OK;
}

/* Standardise a frame [F] into x [F]; v [C] is its input drive without bias. */
static void drive(const scff_layer_t *layer, const int8_t *weight, const int8_t *frame, int8_t *x, int16_t *v)
{
    uint32_t count = layer->channels;
    int32_t shift = (int32_t)layer->standardised_frac - (int32_t)layer->pre_activation_frac;
    for (uint32_t i = 0; i < count; i++) {
        x[i] = frame[i];
    }
    scff_standardise(x, count, layer->standardised_bits, layer->standardised_frac, layer->rounding);
    for (uint32_t first = 0; first < layer->units; first += ROWS) {
        int32_t sums[ROWS];
        uint32_t rows = ((layer->units - first) < ROWS) ? (layer->units - first) : ROWS;
        scff_dots(&weight[(size_t)first * count], x, count, rows, sums);
        for (uint32_t k = 0; k < rows; k++) {
            int32_t frac = scff_weight_frac(layer, first + k) + shift;
            v[first + k] = (int16_t)scff_requantise_32(sums[k], frac, 16u, layer->rounding);
        }
    }
}

/*
 * One time step of a pair.
 * @param a     [C], input drive of the first frame
 * @param b     [C], input drive of the second frame; NULL where there is none
 * @param state [C], previous state
 * @param v     scratch: [C]
 * @param y     out: [C], outputs; may be state
 * @return sum of squared outputs
 */
static int32_t step(const scff_rnn_t *rnn, const scff_rnn_params_t *params, const int16_t *a, const int16_t *b,
                    const int8_t *state, int16_t *v, int8_t *y)
{
    const scff_layer_t *inputs = rnn->inputs;
    int32_t shift = (int32_t)inputs->standardised_frac - (int32_t)inputs->pre_activation_frac;
    int32_t sum = 0;
    scff_pre_activations(rnn->hidden, params->hidden, state, NULL, v);
    for (uint32_t unit = 0; unit < rnn->hidden->units; unit++) {
        int32_t frac = scff_weight_frac(inputs, unit) + shift;
        int32_t bias = scff_round_32(params->inputs.bias[unit], SCFF_BIAS_GUARD_BITS, inputs->rounding);
        int32_t z = (int32_t)a[unit] + (int32_t)v[unit] + scff_requantise_32(bias, frac, 16u, inputs->rounding);
        if (b != NULL) {
            z += b[unit];
        }
        int32_t output = scff_output(rnn->hidden, z);
        y[unit] = (int8_t)output;
        sum += output * output;
    }
    return sum;
}

/* Standardise the outputs in sequence->positive into the new state, and add it to the total. */
static void update_state(const scff_rnn_t *rnn, scff_rnn_sequence_t *sequence)
{
    const scff_layer_t *hidden = rnn->hidden;
    uint32_t units = hidden->units;
    scff_standardise(sequence->positive, units, hidden->standardised_bits, hidden->standardised_frac, hidden->rounding);
    if (sequence->total != NULL) {
        for (uint32_t unit = 0; unit < units; unit++) {
            sequence->total[unit] += sequence->positive[unit];
        }
        sequence->steps += 1u;
    }
}

scff_status_t scff_rnn_begin_pair(const scff_rnn_t *rnn, scff_rnn_sequence_t *sequence)
{
    if ((has_arrays(rnn) == 0) || (sequence == NULL) || (sequence->positive == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    uint32_t units = rnn->hidden->units;
    for (uint32_t unit = 0; unit < units; unit++) {
        sequence->positive[unit] = 0;
        if (sequence->negative != NULL) {
            sequence->negative[unit] = 0;
        }
    }
    if (sequence->total != NULL) {
        clear(sequence->total, (size_t)units);
    }
    sequence->steps = 0;
    return SCFF_OK;
}

scff_status_t scff_rnn_step(const scff_rnn_t *rnn, const scff_rnn_params_t *params, scff_rnn_sequence_t *sequence,
                            const int8_t *frame, void *scratch, size_t scratch_bytes)
{
    scff_status_t status = check_step(rnn, params, sequence, frame);
    if (status != SCFF_OK) {
        return status;
    }
    status = scff_check_scratch(scratch, scratch_bytes, scff_rnn_step_scratch(rnn));
    if (status != SCFF_OK) {
        return status;
    }
    uint32_t units = rnn->hidden->units;
    int16_t *u = (int16_t *)scratch;
    int16_t *v = &u[units];
    int8_t *x = (int8_t *)&v[units];
    drive(rnn->inputs, params->inputs.weight, frame, x, u);
    (void)step(rnn, params, u, u, sequence->positive, v, sequence->positive);
    update_state(rnn, sequence);
    return SCFF_OK;
}

scff_status_t scff_rnn_output(const scff_rnn_t *rnn, const scff_rnn_sequence_t *sequence, int8_t *y)
{
    if ((has_arrays(rnn) == 0) || (sequence == NULL) || (sequence->positive == NULL) || (y == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    if ((rnn->averages != 0u) && ((sequence->total == NULL) || (sequence->steps == 0u))) {
        return SCFF_BAD_ARGUMENT;
    }
    const scff_layer_t *hidden = rnn->hidden;
    uint32_t units = hidden->units;
    int32_t shift = (int32_t)hidden->standardised_frac - (int32_t)hidden->transmitted_frac;
    for (uint32_t unit = 0; unit < units; unit++) {
        y[unit] = (int8_t)scff_requantise_32(sequence->positive[unit], shift, hidden->transmitted_bits, hidden->rounding);
        if (rnn->averages != 0u) {
            int64_t mean = scff_divide((int64_t)sequence->total[unit] * MEAN_GUARD, sequence->steps);
            y[units + unit] = (int8_t)scff_requantise(mean, shift + MEAN_GUARD_BITS, hidden->transmitted_bits,
                                                      hidden->rounding);
        }
    }
    return SCFF_OK;
}

scff_status_t scff_rnn_features(const scff_rnn_t *rnn, const int8_t *y, int8_t *features)
{
    if ((has_arrays(rnn) == 0) || (y == NULL) || (features == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    const scff_layer_t *hidden = rnn->hidden;
    int32_t shift = (int32_t)hidden->transmitted_frac - (int32_t)hidden->feature_frac;
    for (uint32_t i = 0; i < scff_rnn_outputs(rnn); i++) {
        features[i] = (int8_t)scff_requantise_32(y[i], shift, hidden->feature_bits, hidden->rounding);
    }
    return SCFF_OK;
}

static int complete(const scff_rnn_sums_t *sums)
{
    return ((sums != NULL) && (sums->inputs != NULL) && (sums->hidden != NULL) && (sums->bias != NULL)) ? 1 : 0;
}

static void clear_sums(const scff_rnn_t *rnn, scff_rnn_sums_t *sums)
{
    size_t units = (size_t)rnn->hidden->units;
    clear(sums->inputs, units * (size_t)rnn->inputs->channels);
    clear(sums->hidden, units * units);
    clear(sums->bias, units);
    sums->steps = 0;
}

scff_status_t scff_rnn_begin(const scff_rnn_t *rnn, scff_rnn_sums_t *sums, uint32_t sequences)
{
    if ((has_arrays(rnn) == 0) || (complete(sums) == 0) || (sequences < 1u) || (sequences > MOST_SEQUENCES)) {
        return SCFF_BAD_ARGUMENT;
    }
    scff_two_over((uint64_t)rnn->hidden->units * sequences, &sums->mantissa, &sums->exponent);
    clear_sums(rnn, sums);
    return SCFF_OK;
}

/* sum[i] += a x[i] + b y[i]; factors of 0, which are common after rectification, are skipped */
static void add_both(int32_t *sum, int32_t a, const int8_t *x, int32_t b, const int8_t *y, uint32_t count)
{
    if ((a != 0) && (b != 0) && (a <= LARGEST_FACTOR) && (a >= -LARGEST_FACTOR)) {
        scff_add_scaled_pair(sum, a, x, b, y, count);
        return;
    }
    if (a != 0) {
        scff_add_scaled(sum, a, x, count);
    }
    if (b != 0) {
        scff_add_scaled(sum, b, y, count);
    }
}

scff_status_t scff_rnn_learn(const scff_rnn_t *rnn, const scff_rnn_params_t *params, scff_rnn_sums_t *sums,
                             scff_rnn_sequence_t *sequence, const int8_t *own, const int8_t *other, void *scratch,
                             size_t scratch_bytes)
{
    scff_status_t status = check_step(rnn, params, sequence, own);
    if (status != SCFF_OK) {
        return status;
    }
    if ((complete(sums) == 0) || (sums->mantissa == 0) || (sequence->negative == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    if (sums->steps >= scff_rnn_max_steps(rnn)) {
        return SCFF_BATCH_TOO_LARGE;
    }
    status = scff_check_scratch(scratch, scratch_bytes, scff_rnn_learn_scratch(rnn));
    if (status != SCFF_OK) {
        return status;
    }
    const scff_layer_t *hidden = rnn->hidden;
    const scff_layer_t *inputs = rnn->inputs;
    uint32_t units = hidden->units;
    uint32_t count = inputs->channels;
    int16_t *v_own = (int16_t *)scratch;
    int16_t *v_other = &v_own[units];
    int16_t *v = &v_other[units];
    int8_t *x_own = (int8_t *)&v[units];
    int8_t *x_other = &x_own[count];
    int8_t *y_pos = &x_other[count];
    int8_t *y_neg = &y_pos[units];

    drive(inputs, params->inputs.weight, own, x_own, v_own);
    if (other != NULL) {
        drive(inputs, params->inputs.weight, other, x_other, v_other);
    }
    int32_t c_pos = step(rnn, params, v_own, v_own, sequence->positive, v, y_pos);
    int32_t c_neg = step(rnn, params, v_own, (other != NULL) ? v_other : NULL, sequence->negative, v, y_neg);
    scff_coefficients(hidden, &c_pos, &c_neg, sums->mantissa);
    int32_t shift = sums->exponent + hidden->output_frac + COEFFICIENT_BITS - hidden->error_frac;
    for (uint32_t unit = 0; unit < units; unit++) {
        int32_t pull = scff_requantise_32(-y_pos[unit] * c_pos, shift, hidden->error_bits, hidden->rounding);
        int32_t push = scff_requantise_32(y_neg[unit] * c_neg, shift, hidden->error_bits, hidden->rounding);
        add_both(&sums->inputs[(size_t)unit * count], (2 * pull) + push, x_own, (other != NULL) ? push : 0, x_other,
                     count);
        add_both(&sums->hidden[(size_t)unit * units], pull, sequence->positive, push, sequence->negative, units);
        sums->bias[unit] += pull + push;
    }
    sums->steps += 1u;
    for (uint32_t unit = 0; unit < units; unit++) {
        sequence->positive[unit] = y_pos[unit];
        sequence->negative[unit] = y_neg[unit];
    }
    scff_standardise(sequence->negative, units, hidden->standardised_bits, hidden->standardised_frac, hidden->rounding);
    update_state(rnn, sequence);
    return SCFF_OK;
}

/* 1 if no pointer that an update needs is NULL. */
static int complete_state(const scff_layer_t *layer, const scff_state_t *state)
{
    if ((state->weight == NULL) || (state->bias == NULL)) {
        return 0;
    }
    if (((layer->shadow_bits != 0u) && (state->shadow == NULL)) ||
        ((layer->stochastic != 0u) && (state->states == NULL))) {
        return 0;
    }
    return 1;
}

scff_status_t scff_rnn_apply(const scff_rnn_t *rnn, const scff_rnn_state_t *state, scff_rnn_sums_t *sums,
                             int32_t rate_shift)
{
    if ((has_arrays(rnn) == 0) || (state == NULL) || (complete(sums) == 0) || (rate_shift < -16) || (rate_shift > 40)) {
        return SCFF_BAD_ARGUMENT;
    }
    if (sums->mantissa == 0) {
        return SCFF_BAD_ARGUMENT;
    }
    if ((complete_state(rnn->inputs, &state->inputs) == 0) || (complete_state(rnn->hidden, &state->hidden) == 0)) {
        return SCFF_BAD_ARGUMENT;
    }
    uint32_t units = rnn->hidden->units;
    for (uint32_t unit = 0; unit < units; unit++) {
        const int32_t *of_inputs = &sums->inputs[(size_t)unit * rnn->inputs->channels];
        const int32_t *of_hidden = &sums->hidden[(size_t)unit * units];
        scff_apply_unit(rnn->inputs, &state->inputs, unit, of_inputs, sums->bias[unit], rate_shift);
        scff_apply_unit(rnn->hidden, &state->hidden, unit, of_hidden, sums->bias[unit], rate_shift);
    }
    clear_sums(rnn, sums);
    return SCFF_OK;
}
