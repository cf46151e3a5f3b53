# Steps of flows. Motehub writes this anew whenever they change.
