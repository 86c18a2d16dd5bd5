/* A program with a defect, to see that the tools that look for defects find it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argc, (void)argv;
#ifdef LEAK
    char *volatile lost = malloc(16);
    lost = NULL;
    return lost != NULL;
#elif defined BAD_READ
    char *volatile bytes = malloc(16);
    free(bytes);
    return bytes[argc] == 'x' ? 0 : 0 * printf("%d", bytes[argc] > 5);
#elif defined OVERFLOW
    volatile int most = INT_MAX;
    return most + argc == 0;
#endif
}
