// Both headers stand alone and may be included twice: C++17, all warnings are errors.
#include <rs_script.hpp>
#include <rs_script.hpp>

#include <rs_script.h>
#include <rs_script.h>

int main() { return rs_version_number() == RS_VERSION_NUMBER ? 0 : 1; }
