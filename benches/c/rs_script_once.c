// Ours, with calls that happen exactly once: what a token costs.

#define MULTIPLY_OPTIONS RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE)
#include "rs_script.c"
