from mempools.objects.zsclasses import ZsClasses

class StoreEntries(ZsClasses):
    @property
    def nr_buckets(self) -> int: ...
    @property
    def scan_end(self) -> int: ...
