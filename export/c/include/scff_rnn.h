/*
 * scff_rnn.h - learning and inference of a recurrent SCFF layer of one direction, one step at a time.
 *
 * Results equal, bit for bit, the integers of `StreamingRecurrent` in the specification of scff-hw's `fixed` backend.
 * Memory does not grow with the length of a sequence: only the state and the sums are stored.
 *
 * The layer has two dense arrays of scff.h: W reads frames, U reads the previous state. scff_start, scff_seed,
 * scff_read_shadow, scff_save and scff_load apply to each array.
 *
 *   learning   scff_rnn_begin once per batch; scff_rnn_begin_pair once per pair; scff_rnn_learn once per frame of the
 *              pair's first sequence; scff_rnn_apply at the end of the batch
 *   inference  scff_rnn_begin_pair; scff_rnn_step once per frame; scff_rnn_output at any time, then scff_rnn_features
 *
 * Dimensions: C units, F values per frame, as in scff.h.
 */
#ifndef SCFF_RNN_H
#define SCFF_RNN_H

#include "scff.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Largest number of steps of a sequence with a mean state: the sum of its states has 24 bits. */
#define SCFF_RNN_MAX_STEPS 65536u

/*
 * Shape and formats of the layer: constant. Both arrays are dense and share C, rounding, and the formats of
 * pre-activations, outputs, errors and transmitted values. Thresholds, penalty and these formats come from `hidden`.
 */
typedef struct {
    const scff_layer_t *inputs; /* W: channels = F; `standardised` is the format of frames */
    const scff_layer_t *hidden; /* U: channels = C; `standardised` is the format of states */
    uint8_t averages;           /* 1: the output is the last state, then the mean state */
} scff_rnn_t;

/* Parameters of inference; may be in flash. */
typedef struct {
    scff_params_t inputs; /* weight [C][F], bias [C] */
    scff_params_t hidden; /* weight [C][C], bias [C] */
} scff_rnn_params_t;

/* Parameters that learning changes; in RAM. */
typedef struct {
    scff_state_t inputs;
    scff_state_t hidden;
} scff_rnn_state_t;

/* A sequence, or a pair of sequences, in progress; in RAM. */
typedef struct {
    int8_t *positive; /* [C]: state of the positive pair, the sequence with itself */
    int8_t *negative; /* [C]: state of the negative pair; NULL for inference */
    int32_t *total;   /* [C]: sum of the states; NULL unless `averages` is 1 */
    uint32_t steps;   /* number of states in `total` */
} scff_rnn_sequence_t;

/* Sums of gradients since scff_rnn_begin; in RAM, for learning only. */
typedef struct {
    int32_t *inputs;  /* [C][F] */
    int32_t *hidden;  /* [C][C] */
    int32_t *bias;    /* [C], the same for both biases */
    uint32_t steps;   /* number of steps in the sums */
    int32_t mantissa; /* 2 / (C sequences) is mantissa * 2^-(15 + exponent); initialise to 0: no batch */
    int32_t exponent;
} scff_rnn_sums_t;

/* ---- sizes ---- */

uint32_t scff_rnn_outputs(const scff_rnn_t *rnn); /* output values and features per sequence: C, or 2 C with averages */

/* Size of the scratch of scff_rnn_step, in bytes. */
size_t scff_rnn_step_scratch(const scff_rnn_t *rnn);

/* Size of the scratch of scff_rnn_learn, in bytes. */
size_t scff_rnn_learn_scratch(const scff_rnn_t *rnn);

/* Largest number of steps per batch, over all pairs, whose sums fit the accumulators; 0: the layer cannot learn. */
uint32_t scff_rnn_max_steps(const scff_rnn_t *rnn);

/* ---- a sequence ---- */

/* Reset the states before the first step of a pair (learning) or of a sequence (inference). */
scff_status_t scff_rnn_begin_pair(const scff_rnn_t *rnn, scff_rnn_sequence_t *sequence);

/*
 * One time step of inference. The new state is in sequence->positive, int8 of standardised_bits of `hidden`.
 * @param frame   [F], int8, in the input format of `inputs`
 * @param scratch aligned to SCFF_ALIGNMENT, scratch_bytes >= scff_rnn_step_scratch(rnn)
 * @return SCFF_BATCH_TOO_LARGE after SCFF_RNN_MAX_STEPS steps of a sequence with a `total`
 */
scff_status_t scff_rnn_step(const scff_rnn_t *rnn, const scff_rnn_params_t *params, scff_rnn_sequence_t *sequence,
                            const int8_t *frame, void *scratch, size_t scratch_bytes);

/*
 * Output of the sequence up to the last step.
 * @param y out: [scff_rnn_outputs], int8 of transmitted_bits: the last state, then with averages the mean state
 */
scff_status_t scff_rnn_output(const scff_rnn_t *rnn, const scff_rnn_sequence_t *sequence, int8_t *y);

/*
 * Compute the readout's features from an output.
 * @param y        [scff_rnn_outputs], int8, from scff_rnn_output
 * @param features out: [scff_rnn_outputs], int8; may be y
 */
scff_status_t scff_rnn_features(const scff_rnn_t *rnn, const int8_t *y, int8_t *features);

/* ---- learning ---- */

/*
 * Begin a batch: clear the sums.
 * @param sequences number of pairs in the batch, over which errors are averaged; 1..1 000 000
 */
scff_status_t scff_rnn_begin(const scff_rnn_t *rnn, scff_rnn_sums_t *sums, uint32_t sequences);

/*
 * One time step of a pair: updates the sums and the states, not the weights.
 * @param own     [F], int8: frame of the pair's first sequence
 * @param other   [F], int8: frame of its second sequence; NULL after its end
 * @param scratch aligned to SCFF_ALIGNMENT, scratch_bytes >= scff_rnn_learn_scratch(rnn)
 * @return SCFF_BATCH_TOO_LARGE if the sums have scff_rnn_max_steps steps, or `total` has SCFF_RNN_MAX_STEPS
 */
scff_status_t scff_rnn_learn(const scff_rnn_t *rnn, const scff_rnn_params_t *params, scff_rnn_sums_t *sums,
                             scff_rnn_sequence_t *sequence, const int8_t *own, const int8_t *other, void *scratch,
                             size_t scratch_bytes);

/*
 * Update both arrays once, from all pairs since scff_rnn_begin, and begin a batch of the same number of sequences.
 * @param rate_shift learning rate 2^-rate_shift, -16..40
 */
scff_status_t scff_rnn_apply(const scff_rnn_t *rnn, const scff_rnn_state_t *state, scff_rnn_sums_t *sums,
                             int32_t rate_shift);

#ifdef __cplusplus
}
#endif

#endif /* SCFF_RNN_H */
