// Where this code is installed.
#pragma once

#include <string>

namespace mhcjit::runtime {

// The folder of Python packages in whose package mhcjit the library or the tool lies that this code is part of, as
// PACKAGES/mhcjit/_native/FILE; "" where it lies elsewhere.
std::string packages_folder();

// The kernels that the package mhcjit-kernels of the same folder brings along; "" where it is not installed.
std::string packaged_kernels();

}  // namespace mhcjit::runtime
