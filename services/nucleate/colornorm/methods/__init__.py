"""The published methods: Reinhard, Macenko, Vahadane and Khan, fitted to a target and applied."""
