#include "scff_kernels.h"

#define COEFFICIENT_BITS 15
#define COEFFICIENT_ONE 32768 /* 2^COEFFICIENT_BITS */
#define TABLE_BITS 5 /* fraction bits of the logistic function's argument */

/* Fraction bits of logits. */
static int32_t logit_frac(const scff_layer_t *readout, uint32_t k)
{
    return scff_weight_frac(readout, k) + readout->standardised_frac;
}

uint32_t scff_classify(const scff_layer_t *readout, scff_params_t params, const int8_t *features, int32_t *logits)
{
    uint32_t best = 0;
    uint32_t count = scff_fan_in(readout);
    for (uint32_t k = 0; k < readout->units; k++) {
        int32_t bias = (int32_t)scff_shift_right(params.bias[k], SCFF_BIAS_GUARD_BITS, readout->rounding);
        logits[k] = bias + scff_dot(&params.weight[(size_t)k * count], features, count);
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    return best;
}

scff_status_t scff_learn_readout(const scff_layer_t *readout, const scff_state_t *state, const int8_t *features,
                                 uint32_t label, int32_t rate_shift, int32_t *logits)
{
    if ((readout == NULL) || (state == NULL) || (features == NULL) || (logits == NULL) || (label >= readout->units) ||
        (rate_shift < -16) || (rate_shift > 40)) {
        return SCFF_BAD_ARGUMENT;
    }
    scff_params_t params = {state->weight, state->bias};
    (void)scff_classify(readout, params, features, logits);
    uint32_t count = scff_fan_in(readout);
    for (uint32_t k = 0; k < readout->units; k++) {
        int32_t frac = logit_frac(readout, k);
        int32_t error = scff_logistic(scff_shift_right(logits[k], frac - TABLE_BITS, readout->rounding));
        if (k == label) {
            error -= COEFFICIENT_ONE;
        }
        logits[k] = error;
        int32_t shift = COEFFICIENT_BITS + rate_shift - scff_weight_frac(readout, k) - scff_shadow_guard(readout) +
                        readout->standardised_frac;
        for (uint32_t i = 0; i < count; i++) {
            int64_t change = scff_shift_right((int64_t)error * features[i], shift, readout->rounding);
            scff_change(readout, state, scff_at(k, count, i), change);
        }
        int64_t change = scff_shift_right(error, COEFFICIENT_BITS + rate_shift - frac - SCFF_BIAS_GUARD_BITS,
                                          readout->rounding);
        state->bias[k] = scff_sub_sat(state->bias[k], change, SCFF_BIAS_BITS);
    }
    return SCFF_OK;
}
