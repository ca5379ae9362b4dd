/* The two requests to a debugger or emulator that the selftest image needs (Arm semihosting). */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

void semihosting_write(const char *text);

/* Ends the emulation with this exit code; does not return. */
void semihosting_exit(int code);

#endif /* SEMIHOSTING_H */
