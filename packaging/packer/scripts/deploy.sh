# Deploys SLIPWAY_REVISION into the image as the deployment group with the id SLIPWAY_GROUP. On an instance that group's first deployment does not
# fetch the same revision again, and replaces the files of another. Without a revision there is nothing to do.
[ -n "${SLIPWAY_REVISION:-}" ] || exit 0
: "${SLIPWAY_GROUP:?names the deployment group by its id, which is needed with a revision}"
slipway local "$SLIPWAY_REVISION" --deployment-group "$SLIPWAY_GROUP"
