/*
 * Learns as golden.h says, which a test makes of the integer reference, and compares after every batch: sums and states
 * before the update, all that was learned after it, and at the end what a sequence passes on.
 */
#include "scff_rnn.h"

#include "golden.h"

#if defined(__arm__)
#include "semihosting.h"
#define SAY semihosting_write
#else
#include <stdio.h>
#define SAY(text) ((void)fputs(text, stdout))
#endif

static int8_t positive[UNITS];
static int8_t negative[UNITS];
static int32_t total[UNITS];
static int32_t of_inputs[UNITS * FEATURES];
static int32_t of_hidden[UNITS * UNITS];
static int32_t of_bias[UNITS];
static uint32_t scratch[((8u * UNITS) + (2u * FEATURES) + 3u) / 4u];
static int8_t passed[OUTPUTS];

static uint32_t crc_of(uint32_t crc, const void *values, size_t size)
{
    return scff_crc32(crc, (const uint8_t *)values, size);
}

static uint32_t crc_of_array(uint32_t crc, const scff_layer_t *layer, const scff_state_t *state)
{
    size_t count = (size_t)layer->units * layer->channels;
    crc = crc_of(crc, state->weight, count);
    if (layer->shadow_bits != 0u) {
        crc = crc_of(crc, state->shadow, count * layer->shadow_bits / 8u);
    }
    crc = crc_of(crc, state->bias, layer->units * sizeof(int32_t));
    return (layer->stochastic != 0u) ? crc_of(crc, state->states, layer->units * sizeof(uint32_t)) : crc;
}

static int failed(const char *what)
{
    SAY("FAIL: ");
    SAY(what);
    SAY("\n");
    return 1;
}

int main(void)
{
    const scff_rnn_t rnn = {&layer_of_inputs, &layer_of_hidden, AVERAGES};
    const scff_rnn_state_t state = {{inputs_weight, INPUTS_SHADOW, inputs_bias, inputs_states},
                                    {hidden_weight, HIDDEN_SHADOW, hidden_bias, hidden_states}};
    const scff_rnn_params_t params = {{inputs_weight, inputs_bias}, {hidden_weight, hidden_bias}};
    scff_rnn_sequence_t sequence = {positive, negative, total, 0};
    scff_rnn_sums_t sums = {of_inputs, of_hidden, of_bias, 0, 0, 0};
    size_t size = scff_rnn_learn_scratch(&rnn);
    if ((size > sizeof scratch) || (size < scff_rnn_step_scratch(&rnn)) || (scff_rnn_outputs(&rnn) != OUTPUTS)) {
        return failed("sizes");
    }
    uint32_t steps = 0;
    for (uint32_t batch = 0; batch < BATCHES; batch++) {
        uint32_t crc = 0;
        scff_status_t status = scff_rnn_begin(&rnn, &sums, PAIRS);
        for (uint32_t pair = 0; (pair < PAIRS) && (status == SCFF_OK); pair++) {
            uint32_t k = pairs[(batch * PAIRS) + pair];
            uint32_t n = pairs[(batch * PAIRS) + ((pair + 1u) % PAIRS)];
            uint32_t length = first_frame[k + 1u] - first_frame[k];
            uint32_t other = first_frame[n + 1u] - first_frame[n];
            status = scff_rnn_begin_pair(&rnn, &sequence);
            for (uint32_t t = 0; (t < length) && (status == SCFF_OK); t++) {
                const int8_t *own = &frames[(first_frame[k] + t) * FEATURES];
                const int8_t *second = (t < other) ? &frames[(first_frame[n] + t) * FEATURES] : NULL;
                status = scff_rnn_learn(&rnn, &params, &sums, &sequence, own, second, scratch, size);
                crc = crc_of(crc, positive, UNITS);
                crc = crc_of(crc, negative, UNITS);
                steps++;
            }
        }
        crc = crc_of(crc, of_inputs, sizeof of_inputs);
        crc = crc_of(crc, of_hidden, sizeof of_hidden);
        crc = crc_of(crc, of_bias, sizeof of_bias);
        if ((status != SCFF_OK) || (crc != crc_of_sums[batch])) {
            return failed("states or sums");
        }
        status = scff_rnn_apply(&rnn, &state, &sums, rate_shifts[batch]);
        crc = crc_of_array(crc_of_array(0, &layer_of_inputs, &state.inputs), &layer_of_hidden, &state.hidden);
        if ((status != SCFF_OK) || (crc != crc_of_weights[batch])) {
            return failed("weights");
        }
    }
    (void)scff_rnn_begin_pair(&rnn, &sequence);
    uint32_t crc = 0;
    for (uint32_t t = 0; t < first_frame[1]; t++) {
        if ((scff_rnn_step(&rnn, &params, &sequence, &frames[t * FEATURES], scratch, size) != SCFF_OK) ||
            (scff_rnn_output(&rnn, &sequence, passed) != SCFF_OK)) {
            return failed("a frame was refused");
        }
        crc = crc_of(crc, passed, OUTPUTS);
    }
    (void)scff_rnn_features(&rnn, passed, passed);
    if (crc_of(crc, passed, OUTPUTS) != crc_of_answers) {
        return failed("what is passed on");
    }
    if (steps != STEPS) {
        return failed("steps");
    }
    SAY("PASS\n");
    return 0;
}
