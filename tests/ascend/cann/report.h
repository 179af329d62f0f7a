// What the stand-in says, and the options it takes. Every line it prints starts with "stand-in".
#pragma once
#include <string>

namespace standin {
// One option from the environment, PREDIFF_STANDIN_<name>; `otherwise` where it is not set.
std::string option(const char* name, const char* otherwise);
long option_number(const char* name, long otherwise);
// Prints one line with the rank in front.
void say(const std::string& line);
// Notes an error of the program under test: prints it, remembers it for aclGetRecentErrMsg and the
// ledger. The process ends with code 86 unless the option "keep_going" is set.
void found(const std::string& line);
// A code that the runtime returns on purpose (a fault on request): remembered, not fatal.
void remember(const std::string& line);
std::string last_error();
int rank();
}  // namespace standin
