/** Exit status for wrong arguments or a wrong configuration: starting the program again cannot help. */
export const USAGE_ERROR_STATUS = 2;
