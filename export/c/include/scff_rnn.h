/*
 * scff_rnn.h - learning and inference of a recurrent SCFF layer of one direction, one step at a time.
 *
 * It gives, bit for bit, the integers of `StreamingRecurrent` in the specification of scff-hw's `fixed` backend. Nothing
 * is kept of a step but its state and sums: memory does not grow with the length of a sequence.
 *
 * Two dense layers of scff.h are its arrays: W reads frames, U reads the state of the step before. scff_start, scff_seed,
 * scff_read_shadow, scff_save and scff_load serve each by itself.
 *
 *   learning   scff_rnn_begin (a batch), then for each pair scff_rnn_begin_pair, a scff_rnn_learn for each frame of its
 *              first half, and at last scff_rnn_apply
 *   inference  scff_rnn_begin_pair, a scff_rnn_hear for each frame, scff_rnn_pass_on whenever it is wanted, and
 *              scff_rnn_features of that
 *
 * Names of dimensions: C units, F values a frame, as in scff.h.
 */
#ifndef SCFF_RNN_H
#define SCFF_RNN_H

#include "scff.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Most steps of a sequence whose mean state is wanted: the sum of its states has 24 bits. */
#define SCFF_RNN_MAX_STEPS 65536u

/*
 * A layer's shape and formats: constant. Both arrays are dense with the same C, rounding, and formats of pre-activations,
 * outputs, errors and what is passed on; thresholds, penalty and these formats are read of `hidden`.
 */
typedef struct {
    const scff_layer_t *inputs; /* W: channels = F; `standardised` is the format of frames */
    const scff_layer_t *hidden; /* U: channels = C; `standardised` is the format of states */
    uint8_t averages;           /* 1: the mean state is passed on too, behind the last */
} scff_rnn_t;

/* What inference reads: may lie in flash. */
typedef struct {
    scff_params_t inputs; /* weight [C][F], bias [C] */
    scff_params_t hidden; /* weight [C][C], bias [C] */
} scff_rnn_params_t;

/* What learning changes: in RAM. */
typedef struct {
    scff_state_t inputs;
    scff_state_t hidden;
} scff_rnn_state_t;

/* Where a sequence, or a pair of them, has got to: in RAM. */
typedef struct {
    int8_t *positive; /* [C]: the state of the sequence, paired with itself */
    int8_t *negative; /* [C]: that of the negative pair; NULL where nothing is learned */
    int32_t *total;   /* [C]: the sum of the states so far; NULL unless averages are passed on */
    uint32_t steps;   /* summed in `total` */
} scff_rnn_walk_t;

/* Sums of gradients since scff_rnn_begin: in RAM, where it learns. */
typedef struct {
    int32_t *inputs;  /* [C][F] */
    int32_t *hidden;  /* [C][C] */
    int32_t *bias;    /* [C], of both biases alike */
    uint32_t steps;   /* in the sums */
    int32_t mantissa; /* 2 / (C sequences) is mantissa * 2^-(15 + exponent); 0, to start with: no batch was begun */
    int32_t exponent;
} scff_rnn_sums_t;

/* ---- sizes ---- */

uint32_t scff_rnn_outputs(const scff_rnn_t *rnn); /* values passed on, and features: C, or 2 C with averages */

/* Bytes of scratch that scff_rnn_hear needs. */
size_t scff_rnn_hear_scratch(const scff_rnn_t *rnn);

/* Bytes of scratch that scff_rnn_learn needs. */
size_t scff_rnn_learn_scratch(const scff_rnn_t *rnn);

/* Steps of a batch whose sums fit their accumulators, all its pairs together; 0: not made to learn. */
uint32_t scff_rnn_max_steps(const scff_rnn_t *rnn);

/* ---- a sequence ---- */

/* The states before the first step: of a pair to learn from, or of a sequence to infer from. */
scff_status_t scff_rnn_begin_pair(const scff_rnn_t *rnn, scff_rnn_walk_t *walk);

/*
 * One step of inference.
 *   frame   [F], int8, in the input format of `inputs`
 *   scratch aligned as an int32_t, scratch_bytes >= scff_rnn_hear_scratch(rnn)
 * The new state is in walk->positive, int8 of standardised_bits of `hidden`. SCFF_BATCH_TOO_LARGE: SCFF_RNN_MAX_STEPS
 * were heard, and there is a walk->total.
 */
scff_status_t scff_rnn_hear(const scff_rnn_t *rnn, const scff_rnn_params_t *params, scff_rnn_walk_t *walk,
                            const int8_t *frame, void *scratch, size_t scratch_bytes);

/*
 * What the sequence heard so far passes on.
 *   y [scff_rnn_outputs], int8 of transmitted_bits: the last state, then with averages the mean of the states
 */
scff_status_t scff_rnn_pass_on(const scff_rnn_t *rnn, const scff_rnn_walk_t *walk, int8_t *y);

/*
 * What the readout sees of what was passed on.
 *   y, features [scff_rnn_outputs], int8; they may be the same
 */
scff_status_t scff_rnn_features(const scff_rnn_t *rnn, const int8_t *y, int8_t *features);

/* ---- learning ---- */

/*
 * New sums, for a batch.
 *   sequences first halves of pairs in the batch, over which errors are averaged; 1..1 000 000
 */
scff_status_t scff_rnn_begin(const scff_rnn_t *rnn, scff_rnn_sums_t *sums, uint32_t sequences);

/*
 * One step of a pair: goes on in the sums and the walk, weights stay as they are.
 *   own     [F], int8: the frame of the pair's first half
 *   other   [F], int8: that of its second; NULL once that has ended
 *   scratch aligned as an int32_t, scratch_bytes >= scff_rnn_learn_scratch(rnn)
 * SCFF_BATCH_TOO_LARGE: scff_rnn_max_steps are in the sums, or SCFF_RNN_MAX_STEPS in walk->total.
 */
scff_status_t scff_rnn_learn(const scff_rnn_t *rnn, const scff_rnn_params_t *params, scff_rnn_sums_t *sums,
                             scff_rnn_walk_t *walk, const int8_t *own, const int8_t *other, void *scratch,
                             size_t scratch_bytes);

/*
 * Changes both arrays once, by all pairs since scff_rnn_begin, and begins new sums for as many sequences.
 *   rate_shift learning rate 2^-rate_shift, -16..40
 */
scff_status_t scff_rnn_apply(const scff_rnn_t *rnn, const scff_rnn_state_t *state, scff_rnn_sums_t *sums,
                             int32_t rate_shift);

#ifdef __cplusplus
}
#endif

#endif /* SCFF_RNN_H */
