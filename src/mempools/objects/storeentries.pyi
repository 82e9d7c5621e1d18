from mempools.objects.storelimit import StoreLimit

class StoreEntries(StoreLimit):
    @property
    def nr_buckets(self) -> int: ...
    @property
    def scan_end(self) -> int: ...
