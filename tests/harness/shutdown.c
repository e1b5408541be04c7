/* Shuts a file system down as a power cut does: what was not synced is gone.
 *
 * shutdown PATH FLAG: FLAG 1 writes the file system's own log first, 2 does not. The number of the
 * call is the one of ext4 and xfs alike. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define FS_IOC_SHUTDOWN _IOR('X', 125, uint32_t)

int main(int count, char **words) {
    if (count != 3) return 2;
    int directory = open(words[1], O_RDONLY | O_DIRECTORY);
    uint32_t flag = (uint32_t)atoi(words[2]);
    if (directory < 0 || ioctl(directory, FS_IOC_SHUTDOWN, &flag) != 0) {
        perror(words[1]);
        return 1;
    }
    return 0;
}
