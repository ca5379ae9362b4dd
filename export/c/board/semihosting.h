/* Arm semihosting: requests to a debugger or emulator. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

/*
 * Print text on the host's console.
 * @param text terminated by a 0 byte
 */
void semihosting_write(const char *text);

/*
 * Open a file of the host for reading.
 * @param name path on the host, terminated by a 0 byte
 * @return the file's handle, or -1 if it cannot be opened
 */
int32_t semihosting_open(const char *name);

/*
 * Read bytes from a file.
 * @param file handle from semihosting_open
 * @param to   out: [size] bytes
 * @return 1 if all `size` bytes were read, else 0
 */
int semihosting_read(int32_t file, void *to, uint32_t size);

/* End the emulation with this exit code; does not return. */
void semihosting_exit(int code);

#endif /* SEMIHOSTING_H */
