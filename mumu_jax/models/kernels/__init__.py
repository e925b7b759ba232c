"""How a layer is computed: convolutions, pools and sparse products in the form that suits the device."""
