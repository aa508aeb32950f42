"""The champion network behind other model servers: environments, services and how each is asked."""
