#pragma once

#include <string>

namespace vt_shim {

// Reports a use of the API that a Mac would punish with a crash, a hang, a leak or a wrong picture,
// and ends the process by abort().
[[noreturn]] void Violation(const std::string &message);

}  // namespace vt_shim
