// The two kinds of bad argument. Bindings turn them into TypeError and ValueError.
#pragma once

#include <stdexcept>
#include <string>

namespace convpool {

struct InvalidType : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Every message has the form "<function>: <parameter> must be <rule>, got <value>".
inline std::string must_be(const std::string& function, const std::string& parameter, const std::string& rule,
                           const std::string& value) {
  return function + ": " + parameter + " must be " + rule + ", got " + value;
}

[[noreturn]] inline void reject(const std::string& function, const std::string& parameter, const std::string& rule,
                                const std::string& value) {
  throw InvalidArgument(must_be(function, parameter, rule, value));
}

}  // namespace convpool
