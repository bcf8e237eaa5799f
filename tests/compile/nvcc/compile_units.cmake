# Writes the units with WRITE_UNITS into FOLDER and compiles each with NVCC for the architecture that its name starts
# with, host code by HOST_COMPILER.
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
execute_process(COMMAND ${WRITE_UNITS} ${FOLDER} OUTPUT_VARIABLE units COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" units "${units}")
foreach(unit IN LISTS units)
  get_filename_component(name ${unit} NAME_WE)
  string(REGEX MATCH "^sm_([0-9]+[af]?)" architecture ${name})
  # Not -arch: some compilers then compile for sm_90 beside sm_90a.
  set(virtual_architecture compute_${CMAKE_MATCH_1})
  message(STATUS "nvcc ${name}")
  execute_process(
    COMMAND ${NVCC} -std=c++17 -gencode arch=${virtual_architecture},code=${architecture} -ccbin ${HOST_COMPILER} -Werror all-warnings -Xcompiler -Wall,-Wextra
      -I ${TEMPLATES} -c ${unit} -o ${FOLDER}/${name}.o
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
