/* The header stands alone and may be included twice: C11, all warnings are errors. */
#include <rs_script.h>
#include <rs_script.h>

int main(void) { return rs_version_number() == RS_VERSION_NUMBER ? 0 : 1; }
