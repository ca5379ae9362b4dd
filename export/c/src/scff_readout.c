#include "scff_kernels.h"

uint32_t scff_classify(const scff_readout_t *readout, const int8_t *features, int32_t *logits)
{
    uint32_t best = 0;
    for (uint32_t k = 0; k < readout->classes; k++) {
        logits[k] = readout->bias[k] + scff_dot(&readout->weight[(size_t)k * readout->features], features,
                                                readout->features);
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    return best;
}
