// `mhcjit tune` on a made-up device, whose trials take $FAKE_TRIAL_MS milliseconds.
#include <cstdlib>

#include "tests/tuning/fake_kit.h"
#include "tools/tune_kit.h"

namespace mhcjit::tools {

llvm::Expected<tuning::Kit> tune_kit(const std::string&) {
  test::FakeDevice device;
  const char* const milliseconds = std::getenv("FAKE_TRIAL_MS");
  device.milliseconds = milliseconds == nullptr ? 0 : std::atof(milliseconds);
  return test::fake_kit(device);
}

}  // namespace mhcjit::tools
