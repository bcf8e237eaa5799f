# Writes the units with WRITE_UNITS into FOLDER and compiles each with NVCC for the architecture that its name starts
# with, host code by HOST_COMPILER.
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
execute_process(COMMAND ${WRITE_UNITS} ${FOLDER} OUTPUT_VARIABLE units COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" units "${units}")
foreach(unit IN LISTS units)
  get_filename_component(name ${unit} NAME_WE)
  string(REGEX MATCH "^sm_[0-9]+[af]?" architecture ${name})
  message(STATUS "nvcc ${name}")
  execute_process(
    COMMAND ${NVCC} -std=c++17 -arch=${architecture} -ccbin ${HOST_COMPILER} -Werror all-warnings -Xcompiler -Wall,-Wextra
      -I ${TEMPLATES} -c ${unit} -o ${FOLDER}/${name}.o
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
