/* The requests to a debugger or emulator that images here make (Arm semihosting). */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

void semihosting_write(const char *text);

/* A file of the host's, to read; -1 where there is none. */
int32_t semihosting_open(const char *name);

/* 1 where `size` bytes came, else 0. */
int semihosting_read(int32_t file, void *to, uint32_t size);

/* Ends the emulation with this exit code; does not return. */
void semihosting_exit(int code);

#endif /* SEMIHOSTING_H */
