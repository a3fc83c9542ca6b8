local epoch, number, id = head(ARGV[1], ARGV[2])
tidy()
return { now, epoch, number, id }
